"""Checkpoints: nothing is lost, nothing is executed, and damage is named."""

import numpy as np
import pytest
import torch
from torch import nn

from toolkit.errors import CorruptError
from toolkit.learning.checkpoint import State, load, packed, save, state_of, unpack
from toolkit.seeding import generator


def trained(steps=3):
    torch.manual_seed(0)
    net = nn.Linear(4, 2)
    adam = torch.optim.Adam(net.parameters(), lr=0.1)
    for _ in range(steps):
        adam.zero_grad()
        net(torch.ones(1, 4)).sum().backward()
        adam.step()
    return net, adam


def test_everything_comes_back(tmp_path):
    net, adam = trained()
    rng = generator(3, "x")
    rng.random(7)
    file = tmp_path / "c.safetensors"
    save(file, State(tensors=packed({"n": net}, {"a": adam}), numbers={"rng": state_of(rng)}))
    assert [p.name for p in tmp_path.iterdir()] == [file.name]
    fresh, fresh_adam = trained(0)
    state = load(file)
    unpack(state.tensors, {"n": fresh}, {"a": fresh_adam})
    other = generator(9, "y")
    other.bit_generator.state = state.numbers["rng"]
    np.testing.assert_array_equal(other.random(5), rng.random(5))
    for n, o in ((net, adam), (fresh, fresh_adam)):
        o.zero_grad()
        n(torch.ones(1, 4)).sum().backward()
        o.step()
    assert torch.equal(net.weight, fresh.weight)


def test_damage_is_named(tmp_path):
    net, adam = trained()
    file = tmp_path / "c.safetensors"
    save(file, State(tensors=packed({"n": net}, {"a": adam}), numbers={}))
    whole = file.read_bytes()
    for share in (0.0, 0.5, 0.95):
        file.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(CorruptError, match="cannot be read"):
            load(file)


def test_another_network_is_refused():
    net, adam = trained()
    with pytest.raises(CorruptError, match="another network"):
        unpack(packed({"n": net}, {"a": adam}), {"n": nn.Linear(3, 2)}, {})
