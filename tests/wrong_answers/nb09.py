"""Plausible wrong answers to the exercises of notebook 09, each with a part of what the check says to it."""


def incomplete_batches_too(train_images, val_images, epochs, batch_size, eval_every):
    return epochs * train_images, -(-epochs // eval_every) * val_images


def rounded_up(train_images, val_images, epochs, batch_size, eval_every):
    return epochs * -(-train_images // batch_size) * batch_size, -(-epochs // eval_every) * val_images


def not_at_the_end(train_images, val_images, epochs, batch_size, eval_every):
    return epochs * (train_images // batch_size) * batch_size, epochs // eval_every * val_images


def at_the_end_again(train_images, val_images, epochs, batch_size, eval_every):
    return epochs * (train_images // batch_size) * batch_size, (epochs // eval_every + 1) * val_images


def steps(train_images, val_images, epochs, batch_size, eval_every):
    return epochs * (train_images // batch_size), -(-epochs // eval_every) * val_images


def a_batch_each(order, step, batch_size, processes, process):
    start = (step * processes + process) * batch_size
    return order[start : start + batch_size]


def all_the_same(order, step, batch_size, processes, process):
    return order[step * batch_size : (step + 1) * batch_size]


def part_of_the_epoch(order, step, batch_size, processes, process):
    share = batch_size // processes
    own = order[process::processes]
    return own[step * share : (step + 1) * share] if process else order[step * share : (step + 1) * share]


def shares_of_the_set(order, step, batch_size, processes, process):
    share, part = batch_size // processes, len(order) // processes
    own = order[process * part : (process + 1) * part]
    return own[step * share : (step + 1) * share]


def mains_for_the_first(order, step, batch_size, processes, process):
    batch = order[step * batch_size : (step + 1) * batch_size]
    return batch[: batch_size - processes + 1] if process == 0 else batch[batch_size - processes + process :][:1]


def from_one(order, step, batch_size, processes, process):
    batch = order[step * batch_size : (step + 1) * batch_size]
    return batch[process + 1 :: processes]


def ious(confusion):
    hit = confusion.diagonal().double()
    return hit / (confusion.sum(0) + confusion.sum(1) - hit)


def always_standard(confusion, protocol):
    return ious(confusion).nanmean()


def always_paper(confusion, protocol):
    return ious(confusion).nan_to_num(0).mean()


def labelled_only(confusion, protocol):
    labelled = confusion.sum(1) > 0
    return ious(confusion)[labelled].mean() if protocol == "standard" else always_paper(confusion, protocol)


def without_zeros(confusion, protocol):
    iou = ious(confusion).nan_to_num(0)
    return iou[iou > 0].mean() if protocol == "standard" else iou.mean()


def accuracy(confusion, protocol):
    share = confusion.diagonal() / confusion.sum(1)
    return share.nanmean() if protocol == "standard" else share.nan_to_num(0).mean()


def twice_the_diagonal(confusion, protocol):
    hit = confusion.diagonal().double()
    iou = hit / (confusion.sum(0) + confusion.sum(1))
    return iou.nanmean() if protocol == "standard" else iou.nan_to_num(0).mean()


def exchanged(confusion, protocol):
    return always_paper(confusion, protocol) if protocol == "standard" else always_standard(confusion, protocol)


def percent(confusion, protocol):
    return 100 * (always_standard(confusion, protocol) if protocol == "standard" else always_paper(confusion, protocol))


WRONG = {
    "09.1": [
        (incomplete_batches_too, "an incomplete batch at the end of an epoch is left out"),
        (rounded_up, "an incomplete batch at the end of an epoch is left out"),
        (not_at_the_end, "at the end): 15 images are scored"),
        (at_the_end_again, "100 images are scored, not 120"),
        (steps, "1,000 images are trained, not 250"),
        (lambda *_: (1, 2, 3), "two numbers"),
    ],
    "09.2": [
        (a_batch_each, "together they take 16 images"),
        (all_the_same, "together they take 16 images"),
        (part_of_the_epoch, "an image is taken twice"),
        (shares_of_the_set, "one process alone would take others"),
        (mains_for_the_first, "the shares are unlike"),
        (from_one, "together they take"),
    ],
    "09.3": [
        (always_standard, "paper (two classes are neither"),
        (always_paper, "standard (two classes are neither"),
        (labelled_only, "predicted and nowhere labelled"),
        (without_zeros, "standard (one class is predicted and nowhere labelled"),
        (accuracy, "all classes are there"),
        (twice_the_diagonal, "all classes are there"),
        (exchanged, "two classes are neither"),
        (percent, "not a percentage"),
    ],
}
