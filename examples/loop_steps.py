"""A loop that counts steps and has no epochs: an agent learns to cross a frozen lake.

Usage: python examples/loop_steps.py

Every 1000 steps count as an epoch for callbacks. The table of what each move is worth is a plain numpy array in a `jalon.Tree`.
Writes best.safetensors and training.log into the current folder. Takes a second.
"""

import numpy as np

import jalon
from jalon.callbacks import CSVLogger, EarlyStopping, ModelCheckpoint, ProgbarLogger

LAKE = ["S...", ".O.O", "...O", "O..G"]  # start, ice, holes, goal
MOVES = [(0, -1), (1, 0), (0, 1), (-1, 0)]
rng = np.random.default_rng(0)


def moved(place, move):
    """Return where a move leads, the reward there, and whether the crossing is over. The ice is slippery."""
    down, right = MOVES[move if rng.random() < 0.8 else rng.integers(4)]
    row, column = min(max(place[0] + down, 0), 3), min(max(place[1] + right, 0), 3)
    ground = LAKE[row][column]
    return (row, column), float(ground == "G"), ground in "OG"


agent = jalon.Tree(np.zeros((4, 4, 4)))  # row, column, move
loop = jalon.Loop(
    [
        ModelCheckpoint("best.safetensors", monitor="crossed", mode="max", save_best_only=True),
        EarlyStopping("crossed", mode="max", patience=10, min_delta=0.02, restore_best_weights=True),
        CSVLogger("training.log"),
        ProgbarLogger(),
    ],
    model=agent,
)
place = (0, 0)
for step in loop.steps(50_000, per_epoch=1000):
    worth = agent.params
    explores = rng.random() < max(0.05, 1 - step / 10_000)
    move = int(rng.integers(4)) if explores else int(worth[place].argmax())
    there, reward, over = moved(place, move)
    target = reward + (0 if over else 0.95 * worth[there].max())
    surprise = target - worth[place][move]
    worth[place][move] += 0.1 * surprise
    loop.log(surprise=abs(surprise))
    if over:
        loop.log(crossed=reward)  # its mean over the epoch: the share of crossings that ended at the goal
    place = (0, 0) if over else there

print(loop.run.stop_reason, loop.history.best)
for row in agent.params:
    print(" ".join("←↓→↑"[int(moves.argmax())] for moves in row))
