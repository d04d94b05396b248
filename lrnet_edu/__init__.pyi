"""Where each public name comes from: for editors and type checkers, and for `__init__.py`, which reads it."""

from lrnet_edu.commands.predict import predict_files as predict_files
from lrnet_edu.config import preset as preset
from lrnet_edu.data.cases import Case as Case
from lrnet_edu.data.cases import find_cases as find_cases
from lrnet_edu.data.study import open_study as open_study
from lrnet_edu.distance_maps import distance_map as distance_map
from lrnet_edu.losses import DiceLoss as DiceLoss
from lrnet_edu.losses import DistanceRegressionLoss as DistanceRegressionLoss
from lrnet_edu.losses import ExpLogLoss as ExpLogLoss
from lrnet_edu.losses import FocalTverskyLoss as FocalTverskyLoss
from lrnet_edu.losses import GeneralizedDiceLoss as GeneralizedDiceLoss
from lrnet_edu.losses import MapDiceLoss as MapDiceLoss
from lrnet_edu.losses import MapWeightedDiceLoss as MapWeightedDiceLoss
from lrnet_edu.losses import TverskyLoss as TverskyLoss
from lrnet_edu.losses import WeightedCrossEntropyLoss as WeightedCrossEntropyLoss
from lrnet_edu.metrics import CaseScores as CaseScores
from lrnet_edu.metrics import ScoreTable as ScoreTable
from lrnet_edu.metrics import case_scores as case_scores
from lrnet_edu.metrics import score_table as score_table
from lrnet_edu.mnet_training import train_run as train_run
from lrnet_edu.networks import LRNet as LRNet
from lrnet_edu.networks import MNet as MNet
from lrnet_edu.networks import Tandem as Tandem
from lrnet_edu.study.challenge import ChallengeScores as ChallengeScores
from lrnet_edu.study.challenge import challenge_scores as challenge_scores
from lrnet_edu.study.froc import Froc as Froc
from lrnet_edu.study.froc import froc as froc
from lrnet_edu.support.errors import InputError as InputError
from lrnet_edu.tandem_loss import TandemLoss as TandemLoss
from lrnet_edu.trained import load_lrnet as load_lrnet
from lrnet_edu.trained import load_pretrained_lrnet as load_pretrained_lrnet
from lrnet_edu.viewers.mask_painter import MaskPainter as MaskPainter
from lrnet_edu.viewers.slices import SliceViewer as SliceViewer

__version__: str
