"""The whole model: one backbone pass, then per task a fusion of its four feature maps and a decoder.

What goes through it::

    images (B, 3, H, W) ── backbone ── {task: 4 maps (B, C_i, H_i, W_i)} ── decoders ── {task: (B, C_task, H, W)}
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from mtlora_lite.adapted import Adapted
from mtlora_lite.backbones import Backbone, BackboneSpec, as_image_size, build_backbone, is_weights_file
from mtlora_lite.card import Facts, write_card
from mtlora_lite.checkpoints import storable
from mtlora_lite.decoders import build_decoder
from mtlora_lite.folding import fold_for_good, is_merged
from mtlora_lite.fusion import ProjectFusion
from mtlora_lite.hub import download, names_repo, upload
from mtlora_lite.methods import get_method, method_options
from mtlora_lite.records import as_json, write_atomically
from mtlora_lite.tasks import check_tasks, task_channels

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"


@dataclass(frozen=True)
class ModelConfig:
    """Everything that ``build_model`` was called with, so that a saved model can be built again.

    Attributes:
        backbone: the name, file of weights or shape it was built from; None when a module was given.
        channels: outputs per pixel of every task.
        options: the method's own options, complete.
        folded: whether the shared updates lie in the weights for good, see ``folding``.
    """

    method: str
    backbone: str | Mapping[str, Any] | None
    tasks: tuple[str, ...]
    img_size: tuple[int, int]
    pretrained: bool
    drop_path: float
    decoder: str
    decoder_options: Mapping[str, Any]
    channels: Mapping[str, int]
    options: Mapping[str, Any] = field(default_factory=dict)
    folded: bool = False


class MultiTaskModel(nn.Module):
    """A backbone with one decoder per task; made by ``build_model``.

    Shapes: ``images (B, 3, H, W)`` to ``{task: logits (B, C_task, H, W)}``.

    Attributes:
        config: what it was built of.
        trained: names of the parameters that its method trains, whatever ``requires_grad`` says by now.
        results: how it scored, if that is known; see ``save_pretrained``.
    """

    def __init__(self, backbone: Backbone, decoders: Mapping[str, nn.Module], config: ModelConfig):
        super().__init__()
        self.backbone = backbone
        self.decoders = nn.ModuleDict(decoders)
        self.config = config
        self.trained = frozenset(name for name, parameter in self.named_parameters() if parameter.requires_grad)
        self.results: Mapping[str, Any] | None = None

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, in the order they were given."""
        return self.config.tasks

    def forward(self, images: Tensor, tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Predict all tasks, or only those named, in one backbone pass."""
        wanted = self.tasks if tasks is None else known_tasks(tasks, self.tasks)
        streams = self.tasks if self.backbone.tasks_feed_shared else wanted
        projections = _first_matrices([self.decoders[task].fusion for task in streams])
        pyramids = self.backbone(images, streams, projections)
        logits = {}
        for task in wanted:
            decoder, maps = self.decoders[task], pyramids[task]
            logits[task] = decoder.decode(maps if projections else decoder.fusion.project(maps))
        return {task: resize_logits(each, images.shape[-2:]) for task, each in logits.items()}

    def train(self, mode: bool = True) -> "MultiTaskModel":
        """Switch to training or evaluation; how the model scored is forgotten in training, for its weights change."""
        self.results = None if mode else self.results
        return super().train(mode)

    def merge(self) -> "MultiTaskModel":
        """Fold TA-LoRA into the frozen weights wherever no task reads the unfolded ones; idempotent.

        Outputs stay the same. In ``matrix`` mode the forked layers keep their update apart, because there the tasks
        read W and the shared stream reads W + ΔW.
        """
        for layer in self._adapted_layers():
            layer.merge()
        return self

    def unmerge(self) -> "MultiTaskModel":
        """Undo ``merge``, bit by bit; idempotent."""
        for layer in self._adapted_layers():
            layer.unmerge()
        return self

    def _adapted_layers(self) -> list[Adapted]:
        return [module for module in self.modules() if isinstance(module, Adapted)]

    def save_pretrained(
        self, directory: str | Path, *, full: bool = False, results: Mapping[str, Any] | None = None
    ) -> Path:
        """Write ``model.safetensors``, ``config.json`` and a card, ``README.md``, into a folder and return it.

        Args:
            directory: made if it does not exist; files are replaced atomically, but for a card that was edited.
            full: write all weights, and not only those that the method trains or that require gradients now. It is
                so in any case when the rest cannot be had again by the backbone's name (not pre-trained, or given as a
                module).
            results: how the model scores, as a run's ``metrics.json`` has it, for the card; it is kept in
                ``config.json`` and in ``self.results``. None: what ``self.results`` says.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.results = as_json(self.results if results is None else results)
        full = full or not self.config.pretrained or self.config.backbone is None
        merged = is_merged(self)
        state = self.unmerge().state_dict()
        if not full:
            kept = self._learned()
            state = {name: value for name, value in state.items() if name in kept or name.startswith("decoders.")}
        record = dataclasses.asdict(self.config) | {"full": full, "frozen_sha256": self.frozen_hash()}
        if full and isinstance(self.config.backbone, str) and is_weights_file(self.config.backbone):
            record |= {"backbone": self.backbone.shape(), "pretrained": False}  # the file is not needed any more
        record |= {"results": self.results} if self.results else {}
        write_atomically(directory / WEIGHTS_FILE, lambda path: path.write_bytes(save(storable(state))))
        write_atomically(directory / CONFIG_FILE, lambda path: path.write_text(json.dumps(record, indent=1) + "\n"))
        write_card(directory, self._facts(directory.resolve().name, directory / WEIGHTS_FILE, full))
        if merged:
            self.merge()
        return directory

    def push_to_hub(
        self,
        repo_id: str,
        *,
        full: bool = False,
        results: Mapping[str, Any] | None = None,
        private: bool | None = None,
        token: str | None = None,
        message: str = "Upload model",
    ) -> str:
        """Save the model to the Hugging Face hub, where ``from_pretrained(repo_id)`` finds it; returns its address.

        Args:
            repo_id: ``owner/name``; made if it does not exist.
            full: as for ``save_pretrained``.
            results: as for ``save_pretrained``.
            private: whether a new repository is; None: as the owner's account has it.
            token: None: the one that ``hf auth login`` stored.
            message: of the commit.
        """
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, full=full, results=results)
            full = json.loads((Path(folder) / CONFIG_FILE).read_text())["full"]
            write_card(Path(folder), self._facts(repo_id, Path(folder) / WEIGHTS_FILE, full))
            return upload(Path(folder), repo_id, private=private, token=token, message=message)

    @classmethod
    def from_pretrained(
        cls, directory: str | Path, *, backbone: BackboneSpec | None = None, revision: str | None = None
    ) -> "MultiTaskModel":
        """Build the model that ``save_pretrained`` or ``push_to_hub`` wrote, in evaluation mode.

        Args:
            directory: the folder, or ``owner/name`` on the Hugging Face hub.
            backbone: what to adapt in place of what the saved model was built from: needed where that was a module, or
                a file of weights that is now elsewhere.
            revision: branch, tag or commit on the hub; None: its main branch.

        Raises:
            FileNotFoundError: the folder does not hold a saved model, or there is none of that name on the hub.
            ConnectionError: it is not in the hub's cache here, and the hub cannot be reached.
            ValueError: the weights cannot be read or do not fit the backbone, or the frozen ones are not those the
                adapters were trained on.
        """
        if names_repo(directory):
            directory = download(Path(directory).as_posix(), (CONFIG_FILE, WEIGHTS_FILE), revision)
        directory = Path(directory)
        if not (directory / CONFIG_FILE).is_file():
            raise FileNotFoundError(f"{directory} holds no saved model: there is no {CONFIG_FILE} in it.")
        record = _read_record(directory / CONFIG_FILE)
        full, frozen, results = record.pop("full"), record.pop("frozen_sha256"), record.pop("results", None)
        config = _config_from_record(record)
        backbone = config.backbone if backbone is None else backbone
        if backbone is None:
            raise ValueError(f"{directory} was built from a backbone module: pass it as backbone=...")
        model = build_from(config, backbone, config.pretrained and not full)
        model.results = results
        state = _read_weights(directory / WEIGHTS_FILE)
        _check_fit(directory, state, model, full)
        model.load_state_dict(state, strict=False)
        if not full and model.frozen_hash() != frozen:
            raise ValueError(
                f"{directory} was trained on other frozen weights than {config.backbone!r} has here: "
                "use the same pre-trained backbone, or save with full=True."
            )
        return model.eval()

    def _facts(self, name: str, weights: Path, full: bool) -> Facts:
        """What the model's card says."""
        backbone = self.config.backbone
        if not isinstance(backbone, str):
            backbone = f"a {self.backbone.title} of width {self.backbone.width}"
        learned = self._learned()
        trained = sum(parameter.numel() for name, parameter in self.named_parameters() if name in learned)
        total = sum(parameter.numel() for parameter in self.parameters())
        return Facts(
            name, self.config.method, self.config.options, Path(backbone).name, self.backbone.title,
            self.config.img_size, self.config.channels, self.config.folded, full, (trained, total),
            weights.stat().st_size, self.results,
        )  # fmt: skip

    def _learned(self) -> frozenset[str]:
        """Names of the parameters that the method trains, or that require gradients now."""
        return self.trained | {name for name, parameter in self.named_parameters() if parameter.requires_grad}

    def frozen_hash(self) -> str:
        """SHA-256 over the backbone's linear weights that the method freezes: what an adapter file is good for."""
        digest = hashlib.sha256()
        for name, parameter in sorted(self.backbone.named_parameters()):
            if f"backbone.{name}" not in self.trained and self.backbone.parameter_group(name) == "linears":
                digest.update(name.encode())
                digest.update(parameter.detach().float().cpu().numpy().tobytes())
        return digest.hexdigest()


def build_model(
    method: str = "mtlora",
    *,
    backbone: BackboneSpec,
    tasks: Iterable[str],
    img_size: int | tuple[int, int],
    pretrained: bool = True,
    drop_path: float = 0.2,
    decoder: str = "hrnet",
    decoder_options: Mapping[str, Any] | None = None,
    channels: Mapping[str, int] | None = None,
    **options: Any,
) -> MultiTaskModel:
    """Build a multi-task model: a backbone adapted by a method, and a decoder per task.

    Args:
        method: a row of ``methods.METHODS``.
        backbone: a timm name of a family in ``backbones.FAMILIES``, an embedded name (``swin_scenes_tiny``), a file
            of Swin weights, a shape (``backbones.swin_shape``), or a timm module of such a family.
        tasks: task keys; their order is the order of the outputs.
        img_size: height and width in pixels, multiples of 32.
        pretrained: load the backbone's pre-trained weights.
        drop_path: stochastic depth rate of the backbone's last block.
        decoder: a key of ``decoders.DECODERS``.
        decoder_options: its options.
        channels: outputs per pixel where they differ from the task table, e.g. ``{"semseg": 40}``.
        **options: the method's options (``rank``, ``task_rank``, ``scale``, ``combine``, ...).

    Raises:
        ValueError: an unknown method, option, task, backbone or decoder, or a size that does not fit.
    """
    tasks = check_tasks(tasks)
    config = ModelConfig(
        method=method,
        backbone=None if isinstance(backbone, nn.Module) else backbone,
        tasks=tasks,
        img_size=as_image_size(img_size),
        pretrained=pretrained,
        drop_path=drop_path,
        decoder=decoder,
        decoder_options=dict(decoder_options or {}),
        channels=task_channels(tasks, channels),
        options=dataclasses.asdict(method_options(method, options)),
    )
    return build_from(config, backbone)


def build_from(
    config: ModelConfig, backbone: BackboneSpec | None = None, pretrained: bool | None = None
) -> MultiTaskModel:
    """Build the model that a configuration describes; another backbone, or none pre-trained, may take the place of its.

    Raises:
        ValueError: as ``build_model``.
    """
    backbone = config.backbone if backbone is None else backbone
    pretrained = config.pretrained if pretrained is None else pretrained
    body = build_backbone(backbone, img_size=config.img_size, pretrained=pretrained, drop_path=config.drop_path)
    get_method(config.method).adapt(body, config.tasks, method_options(config.method, config.options))
    if config.folded:
        fold_for_good(body)
    decoders = {
        task: build_decoder(config.decoder, body.feature_channels, channels, **config.decoder_options)
        for task, channels in config.channels.items()
    }
    return MultiTaskModel(body, decoders, config)


def _config_from_record(record: dict[str, Any]) -> ModelConfig:
    """JSON has no tuples: make equal what was equal before it was written."""
    read = {
        "tasks": tuple(record["tasks"]),
        "img_size": tuple(record["img_size"]),
        "options": dataclasses.asdict(method_options(record["method"], record["options"])),
    }
    return ModelConfig(**(record | read))


def known_tasks(wanted: Sequence[str], tasks: Sequence[str]) -> tuple[str, ...]:
    """The tasks that are wanted, as a tuple; ``ValueError`` for one that a model of ``tasks`` does not have."""
    if missing := [task for task in check_tasks(wanted) if task not in tasks]:
        raise ValueError(f"This model has no task {missing[0]!r}. Its tasks: {', '.join(tasks)}.")
    return tuple(wanted)


def resize_logits(logits: Tensor, size: Sequence[int]) -> Tensor:
    """Bring logits (B, C, h, w) to a height and width, bilinearly."""
    return F.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=False)  # (B, C_task, H, W)


def _first_matrices(fusions: Sequence[nn.Module]) -> list[Tensor] | None:
    """Per level the 1x1 convolutions that all fusions begin with, (T, c_i, C_i); None where they begin otherwise."""
    if not all(isinstance(fusion, ProjectFusion) and fusion.convs[0].bias is None for fusion in fusions):
        return None
    levels = zip(*(fusion.convs for fusion in fusions), strict=True)
    return [torch.stack([conv.weight.flatten(1) for conv in level]) for level in levels]


def _read_record(path: Path) -> dict[str, Any]:
    """The content of a ``config.json``; ``ValueError`` where that is not one of a saved model."""
    try:
        record = json.loads(path.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} cannot be read ({error}): copy the checkpoint again.") from error
    if not isinstance(record, dict) or not {"method", "tasks", "full", "frozen_sha256"} <= record.keys():
        raise ValueError(f"{path} is not of a model that this package saved.")
    return record


def _check_fit(directory: Path, state: Mapping[str, Tensor], model: MultiTaskModel, full: bool) -> None:
    """Raise ``ValueError`` unless saved weights are those of a model, by names and shapes."""
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    elsewhere = set() if full else {name for name, _ in model.named_parameters()} - model.trained
    odd = [name for name, value in state.items() if value.shape != shapes.get(name)]
    odd += sorted(shapes.keys() - state.keys() - elsewhere)
    if odd:
        raise ValueError(
            f"{directory / WEIGHTS_FILE} does not fit its {CONFIG_FILE} with a {model.backbone.title} of width "
            f"{model.backbone.width} as the backbone: {', '.join(odd[:3])}, ..."
        )


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} cannot be read ({error}): copy the checkpoint again, or train it anew.") from error
