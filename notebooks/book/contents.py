"""What the book holds, as tables: its API pages by subject, and what of the package has none and why."""

# Subject -> the modules that have a page, in reading order. A folder (with /) is one page with all its modules.
API: dict[str, tuple[str, ...]] = {
    "Tasks and updates": ("tasks", "targets", "lora", "mtl_lora", "adapted"),
    "The model": ("backbones/", "fusion", "decoders", "model", "counts", "folding", "card"),
    "Methods": ("methods/", "published"),
    "Losses and scores": ("losses", "metrics/", "references", "balancing"),
    "Training": (
        "config", "recipe", "batches", "trainer", "engine", "evaluation", "report", "checkpoints", "runs", "live",
        "forecast",
    ),
    "Comparing and reading": ("study/", "analysis", "viz", "demo", "gallery/"),
    "Data": (
        "datasets", "transforms", "pascal_mt", "nyud_mt", "layouts", "archives", "verify", "stats", "prepared",
        "scenes/", "sample", "pretrain",
    ),
    "Taking a model away": ("export", "graphs", "predict", "film", "photos", "videos", "sources", "official", "hub"),
    "Language models": ("lm/",),
}  # fmt: skip

# What has no page: {module: why}.
WITHOUT_A_PAGE: dict[str, str] = {
    **dict.fromkeys(("cli", "__main__", "command_line", "data_commands", "lm_commands"), "the page of the commands"),
    **dict.fromkeys(("widgets", "exercises/"), "for the notebooks, which show them"),
    "dashboard/": "make app shows it",
    **dict.fromkeys(
        (
            "names", "paths", "records", "printing", "disk", "parallel", "pieces", "unpickle", "extras", "distributed",
            "randomness", "interrupts", "trackers", "judge",
        ),
        "the ground that the others stand on",
    ),
}  # fmt: skip

# Where not every module of a folder has a section on its page: those that have.
PARTS: dict[str, tuple[str, ...]] = {"scenes/": ("labels",)}  # the others draw, and nobody calls them by themselves
