"""A patience of one's own that begins anew with each restart of the job.

After keras-team/keras#14862 and huggingface/transformers#28544. To be found: JAL503, JAL508.
"""

import jalon


class StopAtPlateau(jalon.Callback):
    """Stops after three epochs that are no better."""

    def __init__(self):
        self.best = None
        self.wait = 0

    def on_epoch_end(self, epoch, logs):
        if self.best is None or logs["loss"] < self.best:
            self.best, self.wait = logs["loss"], 0
        else:
            self.wait += 1
        if self.wait == 3:
            self.run.stop("no better for three epochs")


loop = jalon.Loop(StopAtPlateau(), epochs=100, run_dir="runs/a")
for epoch in loop:
    loop.log(loss=1 / (epoch + 1))
