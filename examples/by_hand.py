"""The learning loop by hand: any torch optimizer steps the updates that the layers leave in .grad."""

import torch

import torchhebb
from torchhebb.data import Batches, load_data
from torchhebb.optim import NormAdaptiveSGD
from torchhebb.readouts import Ridge


def main() -> float:
    data = load_data("digits")
    network = torchhebb.create_model("softhebb2023-digits", seed=0)
    optimizer = NormAdaptiveSGD(network.learning_groups())
    for x in Batches(data.train.images, batch_size=10, seed=0).epoch(0):
        torchhebb.learn(network, x)
        optimizer.step()
        optimizer.zero_grad()

    network.eval()
    with torch.no_grad():
        train, test = (network(images.images / 255.0).flatten(1) for images in (data.train, data.test))
    readout = Ridge().fit(train, data.train.labels, len(data.classes)).readout
    accuracy = 100.0 * (readout(test).argmax(1) == data.test.labels).double().mean().item()
    print(f"digits, ridge on {test.shape[1]} features learned without labels: {accuracy:.2f} %")
    return accuracy


if __name__ == "__main__":
    main()
