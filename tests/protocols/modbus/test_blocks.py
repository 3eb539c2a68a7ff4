from hypothesis import given
from hypothesis import strategies as st

from connections.types import RegisterSpec
from protocols.modbus.blocks import GAPS, LIMITS, Block, decode_block, make_block, plan_blocks, split_block

_WIDTHS = {"coil": [1], "discrete": [1], "holding": [1, 2, 4, 125], "input": [1, 2, 4]}


@st.composite
def specs(draw: st.DrawFn) -> RegisterSpec:
    table = draw(st.sampled_from(sorted(_WIDTHS)))
    width = draw(st.sampled_from(_WIDTHS[table]))
    address = draw(st.integers(0, 400) | st.integers(0, 65_536 - width))
    return RegisterSpec(f"m{draw(st.integers(0, 10**9))}", table, address, width, "uint16")


def spec(address: int, *, table: str = "holding", width: int = 1) -> RegisterSpec:
    return RegisterSpec(f"m{address}", table, address, width, "uint16")


def covers(block: Block, wanted: RegisterSpec) -> bool:
    return block.table == wanted.table and block.address <= wanted.address and wanted.address + wanted.width <= block.address + block.count


@given(st.lists(specs(), max_size=60))
def test_every_register_is_in_one_request_and_no_request_is_too_large(wanted: list[RegisterSpec]) -> None:
    blocks = plan_blocks(wanted)
    assert sorted((s.metric, s.address) for b in blocks for s in b.registers) == sorted((s.metric, s.address) for s in wanted)
    for block in blocks:
        assert all(covers(block, s) for s in block.registers)
        assert 1 <= block.count <= LIMITS[block.table]
        assert block.address + block.count <= 65_536


@given(st.lists(specs(), min_size=1, max_size=40))
def test_a_request_can_be_split_until_each_register_stands_alone(wanted: list[RegisterSpec]) -> None:
    blocks = plan_blocks(wanted)
    for _ in range(40):
        blocks = [part for block in blocks for part in split_block(block)]
    assert all(len(block.registers) == 1 and covers(block, block.registers[0]) for block in blocks)
    assert len(blocks) == len(wanted)


def test_neighbours_are_asked_for_together_and_what_lies_far_apart_is_not() -> None:
    gap = GAPS["holding"]
    blocks = plan_blocks([spec(0), spec(1, width=2), spec(3 + gap), spec(5 + 2 * gap), spec(0, table="coil")])
    assert [(b.table, b.address, b.count) for b in blocks] == [("coil", 0, 1), ("holding", 0, 4 + gap), ("holding", 5 + 2 * gap, 1)]


def test_125_registers_are_one_request_and_126_are_two() -> None:
    assert len(plan_blocks(spec(n) for n in range(125))) == 1
    assert len(plan_blocks(spec(n) for n in range(126))) == 2
    assert len(plan_blocks(spec(n, table="coil") for n in range(2_000))) == 1


def test_a_block_is_split_where_its_gap_is() -> None:
    first, second = split_block(make_block([spec(0), spec(1), spec(2), spec(9)]))
    assert ([s.address for s in first.registers], [s.address for s in second.registers]) == ([0, 1, 2], [9])


def test_one_value_that_cannot_be_read_does_not_stop_the_others() -> None:
    bad = RegisterSpec("bad", "holding", 0, 2, "float32")
    values, error = decode_block(make_block([bad, spec(2)]), [0x7FC0, 0, 7])
    assert values == {"bad": None, "m2": 7}
    assert error == "bad is no finite number"
