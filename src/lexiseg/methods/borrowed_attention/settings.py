"""BorrowedAttentionSettings: which network lends its correlations, and what cuts images into regions."""

from dataclasses import dataclass

from lexiseg.core.setting_ranges import Range, check_ranges
from lexiseg.methods.borrowed_attention.region_bank import BankSearch
from lexiseg.ops.proxy_attention import BETA, GAMMA
from lexiseg.ops.region_scope import MERGE_DISTANCE, SHARPNESS

_RANGES = {
    "points_per_side": Range(least=1),
    "beta": Range(least=0),
    "gamma": Range(least=0, above=True),
    "merge_distance": Range(least=0, most=2),
    "sharpness": Range(least=0),
    "spatial_weight": Range(least=0),
    "semantic_weight": Range(least=0),
    "affinity_factor": Range(least=-1000),
    "negative_limit": Range(least=0, most=1),
    "sam_views": Range(least=1, most=16),
    "min_prompt_probability": Range(least=0, most=1),
    "bank_neighbours": Range(least=1),
    "bank_weight": Range(least=0, most=1),
}


@dataclass(frozen=True, kw_only=True)
class BorrowedAttentionSettings:
    """What stands beside CLIP for the heads proxyclip, trident and corrclip. Defaults are the papers'.

    Attributes:
        vision: The network whose patches say what is alike: ``dinov2-small``, or the hub id or folder of a DINO, DINOv2
            or SAM checkpoint; for corrclip also ``none``, which makes all patches of a region alike. The papers took
            DINO ViT-B/8 (proxyclip, corrclip) and B/16 (trident).
        proposer: What cuts images into regions, for corrclip: ``classical`` (superpixels, no weights),
            ``dinov2-small``, the hub id or folder of a SAM or SAM 2 checkpoint, or ``none``.
        points_per_side: Grid of prompts of a SAM or SAM 2 proposer; 8 costs 0.6 of the published mean of 32.
        sam: The SAM checkpoint whose last attention trident smooths with.
        beta: Similarities above so many times the image's mean are attended to, for proxyclip and trident.
        gamma: Sharpness of that attention.
        merge_distance: Regions of corrclip that are nearer in features become one.
        sharpness: Factor of similarities in corrclip's attention inside regions.
        spatial_weight: Weight of corrclip's branch of middle blocks; the plain branch has 1.
        semantic_weight: Weight of corrclip's branch of one class token a region.
        affinity_factor: SAM's attention counts for trident where values are more alike than so many times the mean.
        negative_limit: What takes the place of such a limit that is below zero; the paper's is 0.6 for ADE20K and
            Cityscapes, none elsewhere.
        sam_views: Parts from left to right that SAM sees one by one, for trident; the paper's is 2 for Cityscapes.
        sam_prompts: Pieces of trident's label map are drawn again by SAM.
        min_prompt_probability: Pieces whose class reaches this probability are; the paper's is 0.2 for VOC, 0.15 for
            Context, 0.25 for COCO-Object, 0.1 for Cityscapes, 0.05 for ADE20K and COCO-Stuff.
        region_vote: Every region of corrclip takes its most frequent label.
        bank: The bank of unlabelled regions that corrclip's regions ask, or ``none``: the file that ``lexiseg references
            build --unlabelled`` wrote with the same networks (version 2 of the paper; it merges no regions:
            ``beside.merge_distance=0``).
        bank_search: How neighbours in the bank are found: ``exact``, or by faiss, ``ivf`` or ``hnsw``.
        bank_neighbours: Regions of the bank whose mean counts.
        bank_weight: Share of what the bank says; the rest is the patch's own.
    """

    vision: str = "facebook/dino-vitb16"
    proposer: str = "classical"
    points_per_side: int = 8
    sam: str = "facebook/sam-vit-base"
    beta: float = BETA
    gamma: float = GAMMA
    merge_distance: float = MERGE_DISTANCE
    sharpness: float = SHARPNESS
    spatial_weight: float = 1.0
    semantic_weight: float = 0.5
    affinity_factor: float = 1.2
    negative_limit: float | None = None
    sam_views: int = 1
    sam_prompts: bool = False
    min_prompt_probability: float = 0.2
    region_vote: bool = True
    bank: str = "none"
    bank_search: BankSearch = "exact"
    bank_neighbours: int = 20
    bank_weight: float = 0.5

    def __post_init__(self) -> None:
        check_ranges(self, _RANGES, method="heads with another network")
