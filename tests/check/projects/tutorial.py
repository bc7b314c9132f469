"""The callbacks of the tutorial, as they are copied: Adam starts at the rate below which it may not fall.

After DESIGN section 8. To be found: JAL201.
"""

import torch

import jalon
from jalon.callbacks import CSVLogger, EarlyStopping, ModelCheckpoint, ReduceLROnPlateau, TensorBoard

x, y = torch.randn(64, 4), torch.randint(0, 3, (64,))
model = jalon.Model(torch.nn.Linear(4, 3)).compile("adam", loss="cross_entropy", metrics=["accuracy"])
model.fit(
    x,
    y,
    epochs=50,
    validation_split=0.2,
    callbacks=[
        ModelCheckpoint("model.h5", save_best_only=True),
        ReduceLROnPlateau(monitor="val_loss", factor=0.2, patience=5, min_lr=0.001),
        EarlyStopping(monitor="val_loss", patience=10),
        CSVLogger("training.log"),
        TensorBoard(log_dir="logs"),
    ],
)
