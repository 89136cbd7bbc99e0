import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, conv2d, interpolate, max_pool2d
from torch.utils.flop_counter import FlopCounterMode

from u2net.net import RSU, U2NET, U2NETP, Stage, U2Net
from u2net.net.model import ConvBlock

HEIGHTS = ("7", "6", "5", "4", "4F", "4F", "4F", "4", "5", "6", "7")
WIDTHS = {
    "U2NET": "3,32,64 64,32,128 128,64,256 256,128,512 512,256,512 512,256,512 "
    "1024,256,512 1024,128,256 512,64,128 256,32,64 128,16,64",
    "U2NETP": "3,16,64 64,16,64 64,16,64 64,16,64 64,16,64 64,16,64 128,16,64 128,16,64 128,16,64 128,16,64 128,16,64",
}  # the paper's figure 5 and the authors' source: I,M,O from En_1 down to En_6 and from De_5 up to De_1
TABLES = {"U2NET": U2NET, "U2NETP": U2NETP}


def on_meta(*arguments, **options) -> U2Net:
    """A network without storage, for inference: its shapes cost nothing."""
    with torch.device("meta"):
        return U2Net(*arguments, **options).eval()


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# ---- The paper's figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLES)
def test_the_stages_have_the_papers_heights_and_widths(name):
    rows = [f"{s.height}{'F' * s.dilated}:{s.c_in},{s.c_mid},{s.c_out}" for s in TABLES[name]]
    assert rows == [f"{h}:{w}" for h, w in zip(HEIGHTS, WIDTHS[name].split(), strict=True)]


@pytest.mark.parametrize(("name", "count"), [("U2NET", 44_009_869), ("U2NETP", 1_131_181)])
def test_the_number_of_parameters_is_the_authors(name, count):
    assert sum(p.numel() for p in on_meta(TABLES[name]).parameters()) == count


def test_the_default_table_is_the_papers_full_network():
    assert on_meta().stages == U2NET


def test_batch_normalisation_has_the_authors_settings():
    settings = {(m.eps, m.momentum, m.affine) for m in on_meta().modules() if isinstance(m, nn.BatchNorm2d)}
    assert settings == {(1e-5, 0.1, True)}


def macs_of_rsu(height: int, dilated: bool, c_in: int, c_mid: int, c_out: int, sizes: list[int]) -> int:
    """Multiply-adds of one block, from figure 2e; `sizes` are the pixels of its map and of those pooled from it."""
    at = [sizes[0] if dilated else sizes[min(level, height - 2)] for level in range(height)]
    macs = at[0] * c_in * c_out + at[0] * c_out * c_mid
    macs += sum(at[level] * c_mid * c_mid for level in range(1, height))
    macs += sum(at[level] * 2 * c_mid * (c_mid if level else c_out) for level in range(height - 1))
    return 9 * macs


@pytest.mark.parametrize("name", TABLES)
def test_each_convolution_works_at_the_size_that_the_paper_gives_it(name):
    sizes = [(320 >> level) ** 2 for level in range(12)]
    expected = 0
    for row, (height, width) in enumerate(zip(HEIGHTS, WIDTHS[name].split(), strict=True)):
        level = row if row < 6 else 10 - row
        c_in, c_mid, c_out = map(int, width.split(","))
        expected += macs_of_rsu(int(height[0]), "F" in height, c_in, c_mid, c_out, sizes[level:])
        if row >= 5:
            expected += 9 * c_out * sizes[level]  # the side output
    expected += 6 * sizes[0]  # the fusion
    with FlopCounterMode(display=False) as counter:
        on_meta(TABLES[name])(torch.zeros(1, 3, 320, 320, device="meta"))
    assert counter.get_total_flops() == 2 * expected


# ---- The residual U-block ------------------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["pooled", "dilated"])
def block(request) -> RSU:
    """An RSU of height 4 with running statistics that are not the initial ones."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        block = RSU(4, 5, 3, 7, dilated=request.param)
        for module in block.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_var, 0.5, 2)
                nn.init.normal_(module.running_mean)
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return block.eval()


def by_hand(block: ConvBlock, x: torch.Tensor, dilation: int) -> torch.Tensor:
    """Convolution 3×3, batch normalisation, ReLU: figure 2's plain block in elementary steps."""
    x = conv2d(x, block.conv.weight, block.conv.bias, padding=dilation, dilation=dilation)
    mean, var, gamma, beta = (
        v[:, None, None] for v in (block.norm.running_mean, block.norm.running_var, block.norm.weight, block.norm.bias)
    )
    return ((x - mean) / (var + 1e-5).sqrt() * gamma + beta).clamp(min=0)


def pooled(x: torch.Tensor) -> torch.Tensor:
    return max_pool2d(x, kernel_size=2, stride=2, ceil_mode=True)


def resized(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return interpolate(x, size=(like.shape[2], like.shape[3]), mode="bilinear", align_corners=False)


def rsu_4(b: RSU, x: torch.Tensor) -> torch.Tensor:
    """RSU-4 as figure 2e draws it, box by box."""
    inside = by_hand(b.conv_in, x, 1)
    e1 = by_hand(b.encoder[0], inside, 1)
    e2 = by_hand(b.encoder[1], pooled(e1), 1)
    e3 = by_hand(b.encoder[2], pooled(e2), 1)
    e4 = by_hand(b.encoder[3], e3, 2)
    d3 = by_hand(b.decoder[2], torch.cat([e4, e3], 1), 1)
    d2 = by_hand(b.decoder[1], torch.cat([resized(d3, e2), e2], 1), 1)
    d1 = by_hand(b.decoder[0], torch.cat([resized(d2, e1), e1], 1), 1)
    return d1 + inside


def rsu_4f(b: RSU, x: torch.Tensor) -> torch.Tensor:
    """RSU-4F: dilations 1, 2, 4, 8 down and 4, 2, 1 up (section 3.2)."""
    inside = by_hand(b.conv_in, x, 1)
    e1 = by_hand(b.encoder[0], inside, 1)
    e2 = by_hand(b.encoder[1], e1, 2)
    e3 = by_hand(b.encoder[2], e2, 4)
    e4 = by_hand(b.encoder[3], e3, 8)
    d3 = by_hand(b.decoder[2], torch.cat([e4, e3], 1), 4)
    d2 = by_hand(b.decoder[1], torch.cat([d3, e2], 1), 2)
    d1 = by_hand(b.decoder[0], torch.cat([d2, e1], 1), 1)
    return d1 + inside


@torch.no_grad()
@pytest.mark.parametrize("size", [(16, 16), (19, 13)])
def test_a_block_of_height_4_is_the_papers_figure(block, size):
    x = noise(2, 5, *size)
    expected = (rsu_4f if block.dilated else rsu_4)(block, x)
    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dilated", [False, True])
@pytest.mark.parametrize("height", range(2, 9))
def test_a_block_of_any_height_keeps_the_size_of_its_input(height, dilated):
    with torch.device("meta"):
        assert RSU(height, 5, 3, 7, dilated)(torch.empty(2, 5, 65, 47)).shape == (2, 7, 65, 47)


@pytest.mark.parametrize("height", range(2, 9))
def test_the_dilations_are_those_of_the_papers_figures(height):
    def dilations(dilated: bool) -> list[int]:
        with torch.device("meta"):
            block = RSU(height, 5, 3, 7, dilated)
        order = [block.conv_in, *block.encoder, *reversed(block.decoder)]
        assert all(b.conv.padding == b.conv.dilation for b in order)
        return [b.conv.dilation[0] for b in order]

    assert dilations(False) == [1] + [1] * (height - 1) + [2] + [1] * (height - 1)
    down = [1, 2, 4, 8, 16, 32, 64, 128][:height]
    assert dilations(True) == [1, *down, *reversed(down[:-1])]


@pytest.mark.parametrize("height", [-1, 0, 1])
def test_a_block_without_a_u_is_refused(height):
    with pytest.raises(ValueError, match=f"height of 2 or more, got {height}"):
        RSU(height, 3, 4, 5)


# ---- The nested U --------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_whole_network_is_the_papers_figure(new_network):
    network = new_network(
        [(3, False, 3, 4, 8), (2, False, 8, 4, 6), (2, True, 6, 4, 5), (2, 0, 11, 4, 7), (3, 0, 15, 4, 9)]
    )
    x = noise(2, 3, 37, 50)
    en1 = network.encoder[0](x)
    en2 = network.encoder[1](pooled(en1))
    en3 = network.encoder[2](pooled(en2))
    de2 = network.decoder[1](torch.cat([resized(en3, en2), en2], 1))
    de1 = network.decoder[0](torch.cat([resized(de2, en1), en1], 1))
    side1, side2, side3 = (
        resized(conv2d(maps, side.weight, side.bias, padding=1), x)
        for maps, side in zip([de1, de2, en3], network.sides, strict=True)
    )
    fused = conv2d(torch.cat([side1, side2, side3], 1), network.fuse.weight, network.fuse.bias)
    torch.testing.assert_close(network(x), (fused, side1, side2, side3), atol=1e-5, rtol=1e-5)


SIZES = [(32, 32), (321, 497)]


@pytest.mark.parametrize("size", SIZES)
def test_the_seven_outputs_have_the_size_of_the_input(size):
    outputs = on_meta(U2NETP)(torch.empty(2, 3, *size, device="meta"))
    assert [tuple(o.shape) for o in outputs] == [(2, 1, *size)] * 7


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 32), (33, 47)])
def test_outputs_of_small_and_odd_inputs_are_finite(thin, size):
    assert all(output.isfinite().all() for output in thin(noise(1, 3, *size)))


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
@torch.no_grad()
def test_the_published_networks_run_at_an_odd_size(table):
    assert [tuple(o.shape) for o in U2Net(table).eval()(noise(1, 3, 321, 497))] == [(1, 1, 321, 497)] * 7


@torch.no_grad()
def test_a_picture_has_the_same_maps_alone_as_in_a_batch(thin):
    batch = noise(3, 3, 48, 64)
    for together, alone in zip(thin(batch), thin(batch[1:2]), strict=True):
        torch.testing.assert_close(together[1:2], alone, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_saliency_is_the_sigmoid_of_the_fused_logits(thin):
    x = noise(2, 3, 40, 56)
    logits = thin(x)[0].double()
    torch.testing.assert_close(thin.saliency(x).double(), 1 / (1 + torch.exp(-logits)), atol=1e-6, rtol=0)


@torch.no_grad()
def test_saliency_of_several_classes_is_the_softmax_of_the_fused_logits(new_network, tiny_table):
    network = new_network(tiny_table, num_classes=4)
    x = noise(2, 3, 40, 56)
    exponentials = torch.exp(network(x)[0].double())
    expected = exponentials / exponentials.sum(dim=1, keepdim=True)
    torch.testing.assert_close(network.saliency(x).double(), expected, atol=1e-6, rtol=0)


# ---- Tables --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_classes", [2, 5])
def test_every_output_has_a_map_for_each_class(tiny_table, num_classes):
    outputs = on_meta(tiny_table, num_classes)(torch.empty(2, 3, 33, 40, device="meta"))
    assert [tuple(o.shape) for o in outputs] == [(2, num_classes, 33, 40)] * 4


@pytest.mark.parametrize("c_in", [1, 6])
def test_the_first_row_says_how_many_channels_come_in(tiny_table, c_in):
    network = on_meta((tiny_table[0]._replace(c_in=c_in), *tiny_table[1:]))
    assert network(torch.empty(1, c_in, 33, 40, device="meta"))[0].shape == (1, 1, 33, 40)


@pytest.mark.parametrize("depth", [2, 3, 7])
def test_a_table_may_be_of_any_depth(depth):
    rows = [(2, False, 3, 2, 4), *[(2, False, 4, 2, 4)] * (depth - 1), *[(2, False, 8, 2, 4)] * (depth - 1)]
    assert len(on_meta(rows)(torch.empty(1, 3, 64, 64, device="meta"))) == 1 + depth


def test_the_widths_of_a_table_may_all_differ():
    rows = [(2, False, 3, 5, 7), (2, False, 7, 3, 11), (2, True, 11, 2, 13), (2, False, 24, 4, 6), (2, False, 13, 3, 2)]
    assert on_meta(rows)(torch.empty(1, 3, 33, 40, device="meta"))[0].shape == (1, 1, 33, 40)


ROW, UP = Stage(2, False, 3, 2, 3), Stage(2, False, 6, 2, 3)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([], "odd number of rows, 3 or more, got 0"),
        ([ROW], "odd number of rows, 3 or more, got 1"),
        ([ROW, ROW], "odd number of rows, 3 or more, got 2"),
        ([ROW, ROW, UP, UP], "odd number of rows, 3 or more, got 4"),
        ([ROW, ROW._replace(c_in=4), UP], "row 2 of the table takes 4 channels but gets 3"),
        ([ROW, ROW, ROW], "row 3 of the table takes 3 channels but gets 6"),
        ([ROW, ROW._replace(c_out=5), UP], "row 3 of the table takes 6 channels but gets 8"),
        ([ROW, ROW._replace(height=1), UP], "height of 2 or more, got 1"),
    ],
)
def test_a_table_whose_rows_do_not_fit_is_refused(table, message):
    with pytest.raises(ValueError, match=message):
        U2Net(table)


@pytest.mark.parametrize("num_classes", [0, -1])
def test_a_network_without_classes_is_refused(num_classes):
    with pytest.raises(ValueError, match=f"num_classes is 1 or more, got {num_classes}"):
        U2Net(U2NETP, num_classes)


# ---- Initialisation ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fresh() -> U2Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return U2Net(U2NETP)


def test_weights_start_uniform_within_xaviers_bound(fresh):
    for conv in (module for module in fresh.modules() if isinstance(module, nn.Conv2d)):
        c_out, c_in, height, width = conv.weight.shape
        bound = math.sqrt(6 / ((c_in + c_out) * height * width))
        scaled = (conv.weight / bound).flatten()
        assert scaled.abs().max() <= 1
        if len(scaled) > 1000:  # enough numbers to tell the distribution: uniform has a variance of 1/3
            assert scaled.abs().max() > 0.98
            assert abs(scaled.square().mean() - 1 / 3) < 0.04
            assert abs(scaled.mean()) < 0.08


def test_biases_start_at_zero(fresh):
    assert all((m.bias == 0).all() for m in fresh.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d))


def test_two_seeds_give_two_networks(new_network, tiny_table):
    one, other = (new_network(tiny_table, seed=seed).fuse.weight for seed in (0, 1))
    assert not torch.equal(one, other)


# ---- Under torch's other ways of running ---------------------------------------------------------------------


def trained(network: U2Net, x: torch.Tensor) -> tuple[torch.Tensor, U2Net]:
    """Loss of one training step's forward pass, and the network with its gradients."""
    network = copy.deepcopy(network).train()
    loss = sum(binary_cross_entropy_with_logits(logits, (x[:, :1] > 0).float()) for logits in network(x))
    loss.backward()
    return loss.detach(), network


@pytest.fixture(scope="module")
def checkpointed(tiny) -> tuple[tuple[torch.Tensor, U2Net], tuple[torch.Tensor, U2Net]]:
    """The same step without and with activation checkpointing."""
    x = noise(2, 3, 33, 48)
    recomputing = copy.deepcopy(tiny)
    recomputing.checkpointing = True
    return trained(tiny, x), trained(recomputing, x)


def test_checkpointing_gives_the_same_loss(checkpointed):
    (loss, _), (loss_too, _) = checkpointed
    torch.testing.assert_close(loss_too, loss, atol=0, rtol=1e-6)


def test_checkpointing_gives_the_same_gradients(checkpointed):
    (_, plain), (_, recomputing) = checkpointed
    for (name, p), q in zip(plain.named_parameters(), recomputing.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, atol=1e-6, rtol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def test_checkpointing_counts_each_batch_once_in_the_running_statistics(checkpointed):
    (_, plain), (_, recomputing) = checkpointed
    buffers = dict(recomputing.named_buffers())
    for name, expected in plain.named_buffers():
        torch.testing.assert_close(buffers[name], expected, atol=1e-6, rtol=1e-6, msg=lambda t, n=name: f"{n}: {t}")


@pytest.mark.parametrize(("checkpointing", "runs"), [(False, 1), (True, 2)])
def test_checkpointing_runs_each_stage_again_in_the_backward_pass(new_network, tiny_table, checkpointing, runs):
    network = new_network(tiny_table)
    network.checkpointing = checkpointing
    seen = []
    network.encoder[1].register_forward_pre_hook(lambda stage, _inputs: seen.append(stage))
    network.train()(noise(1, 3, 32, 32))[0].sum().backward()
    assert len(seen) == runs


def test_after_recomputed_steps_the_counters_go_on_by_one_each(new_network, tiny_table):
    network = new_network(tiny_table)
    network.checkpointing = True
    for _ in range(2):
        network.train()(noise(1, 3, 32, 32))[0].sum().backward()
    assert {int(m.num_batches_tracked) for m in network.modules() if isinstance(m, nn.BatchNorm2d)} == {9}


@torch.no_grad()
def test_channels_last_gives_the_same_maps(tiny):
    x = noise(2, 3, 48, 40)
    turned = copy.deepcopy(tiny).to(memory_format=torch.channels_last)
    found = turned(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, tiny(x), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_bfloat16_autocast_gives_nearly_the_same_saliency(tiny):
    x = noise(2, 3, 48, 40)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = tiny.saliency(x)
    torch.testing.assert_close(found.float(), tiny.saliency(x), atol=0.02, rtol=0)


def test_bfloat16_autocast_gives_finite_gradients(tiny):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, network = trained(tiny, noise(2, 3, 48, 40))
    assert all(p.grad.isfinite().all() for p in network.parameters())


COMPILERS = [
    "eager",
    pytest.param("aot_eager", marks=pytest.mark.slow),
    pytest.param("inductor", marks=pytest.mark.slow),
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # torch.compile's own imports
@pytest.mark.parametrize("backend", COMPILERS)
def test_the_compiled_network_gives_the_same_maps_without_a_graph_break(new_network, backend):
    network = new_network([(3, False, 3, 4, 8), (2, True, 8, 4, 8), (3, False, 16, 4, 8)])
    x = noise(2, 3, 48, 40)
    torch._dynamo.reset()
    with torch.no_grad():
        found = torch.compile(network, backend=backend, fullgraph=True)(x)
        torch.testing.assert_close(found, network(x), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_torch_export_leaves_batch_and_size_free(new_network):
    network = new_network([(3, False, 3, 4, 8), (2, True, 8, 4, 8), (3, False, 16, 4, 8)])
    shapes = {"x": dict.fromkeys((0, 2, 3), torch.export.Dim.AUTO)}
    program = torch.export.export(network, (noise(2, 3, 48, 40),), dynamic_shapes=shapes)
    x = noise(3, 3, 33, 47)
    torch.testing.assert_close(program.module()(x), network(x), atol=1e-5, rtol=1e-5)
