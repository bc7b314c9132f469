"""Two models and two optimizers in one loop: a network draws handwritten digits, another tells them from real ones.

Usage: python examples/loop_gan.py

Writes gan.safetensors, training.log and logs/ into the current folder. Takes a few seconds.
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

import jalon
from jalon.callbacks import CSVLogger, LearningRateScheduler, ModelCheckpoint, ProgbarLogger, TensorBoard

torch.manual_seed(0)
torch.set_num_threads(1)  # the networks are so small that several threads only wait for each other
images = torch.tensor(load_digits().data / 8 - 1, dtype=torch.float32)
loader = DataLoader(images, batch_size=64, shuffle=True, drop_last=True)

artist = nn.Sequential(nn.Linear(16, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.Tanh())
critic = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
of_artist = torch.optim.Adam(artist.parameters(), lr=0.002, betas=(0.5, 0.999))
of_critic = torch.optim.Adam(critic.parameters(), lr=0.002, betas=(0.5, 0.999))


def judged(drawings, real):
    """Return how far the critic is from calling them real, or drawn."""
    verdict = critic(drawings)
    return functional.binary_cross_entropy_with_logits(verdict, torch.full_like(verdict, float(real)))


loop = jalon.Loop(
    [
        LearningRateScheduler(lambda _, rate: rate * 0.95),  # both rates, each from its own
        ModelCheckpoint("gan.safetensors", monitor="artist_loss", mode="min"),
        CSVLogger("training.log"),
        TensorBoard("logs"),
        ProgbarLogger(),
    ],
    model={"artist": artist, "critic": critic},
    optimizer={"artist": of_artist, "critic": of_critic},
    epochs=20,
)
for epoch in loop:
    for real in loop.batches(loader):
        drawn = artist(torch.randn(len(real), 16))

        critic_loss = judged(real, 1) + judged(drawn.detach(), 0)
        of_critic.zero_grad()
        critic_loss.backward()
        of_critic.step()

        artist_loss = judged(drawn, 1)
        of_artist.zero_grad()
        artist_loss.backward()
        of_artist.step()

        loop.log(critic_loss=critic_loss, artist_loss=artist_loss)

# Later, anywhere: one file holds both, and both optimizers.
with torch.no_grad():
    for row in artist(torch.randn(1, 16)).reshape(8, 8):
        print("".join(" .:#@"[int((value + 1) * 2.49)] * 2 for value in row))
