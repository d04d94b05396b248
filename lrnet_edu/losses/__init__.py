"""Section 2.3 and the losses of Table 2: what the network's probabilities are compared with, and how.

Every loss is a module called as ``loss(probabilities, target)`` and returns one number. The probabilities are
(B, classes, D, H, W) or, in 2-D, (B, classes, H, W), AFTER the softmax; class 0 is the background. Mask
losses (`MaskLoss`) take integer labels (B, D, H, W) or (B, 1, D, H, W); map losses (`MapLoss`) take distance maps
(B, classes - 1, D, H, W), one for each foreground class (``distance_map`` makes them).

In the formulas p is a probability, g the one-hot mask, phi the map, and every sum runs over the whole batch and all
voxels, for one class; eps = 1e-5, in voxels, unless stated.

**A batch without a foreground class (g = 0).** Dice, MapDice, Tversky and the like are overlap ratios: they return
1 - eps / (sum p + eps), about 1 with a vanishing gradient, so such a batch teaches nothing about that class. The
weighted cross-entropy, the generalised Dice, the exponential logarithmic loss and the distance regression loss do
penalise false alarms.

Half precision is converted to float32. Wrong values (logits for probabilities) raise `InputError` on the CPU alone.
"""

from lrnet_edu.losses.imbalance import DiceCrossEntropyLoss as DiceCrossEntropyLoss
from lrnet_edu.losses.imbalance import ExpLogLoss as ExpLogLoss
from lrnet_edu.losses.imbalance import FocalTverskyLoss as FocalTverskyLoss
from lrnet_edu.losses.imbalance import GeneralizedDiceLoss as GeneralizedDiceLoss
from lrnet_edu.losses.imbalance import TverskyLoss as TverskyLoss
from lrnet_edu.losses.imbalance import WeightedCrossEntropyLoss as WeightedCrossEntropyLoss
from lrnet_edu.losses.inputs import MapLoss as MapLoss
from lrnet_edu.losses.inputs import MaskLoss as MaskLoss
from lrnet_edu.losses.paper import DiceLoss as DiceLoss
from lrnet_edu.losses.paper import DistanceRegressionLoss as DistanceRegressionLoss
from lrnet_edu.losses.paper import MapDiceLoss as MapDiceLoss
from lrnet_edu.losses.paper import MapWeightedDiceLoss as MapWeightedDiceLoss
from lrnet_edu.losses.paper import map_regression_loss as map_regression_loss
