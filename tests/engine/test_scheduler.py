"""Scheduling without a model: order, budgets, and rows that stay compact."""

from hypothesis import given
from hypothesis import strategies as st

from pandagpt.engine.scheduler import Plan, Scheduler
from pandagpt.engine.sequence import Sequence


def sequence(name: str, length: int, index: int = 0, caller: str = "") -> Sequence:
    return Sequence(name, index, length, caller=caller)


def run(scheduler: Scheduler) -> Plan:
    """One step, as the engine does it."""
    plan = scheduler.plan()
    ending = plan.ending()
    plan.advance()
    for one in ending:
        one.token_ids.append(7)
    return plan


def test_prompts_are_read_in_the_order_of_arrival() -> None:
    scheduler = Scheduler(max_rows=4, max_step_tokens=100)
    first, second = sequence("a", 10), sequence("b", 5)
    scheduler.add(first)
    scheduler.add(second)
    plan = run(scheduler)
    assert [(c.sequence, c.length) for c in plan.chunks] == [(first, 10), (second, 5)]
    assert run(scheduler).decodes == [first, second]


def test_callers_take_turns() -> None:
    scheduler = Scheduler(max_rows=4, max_step_tokens=100)
    for name, caller in ("a", "A"), ("b", "A"), ("c", "A"), ("d", "B"), ("e", "B"), ("f", "A"):
        scheduler.add(sequence(name, 3, caller=caller))
    run(scheduler)
    assert [row.request_id for row in scheduler.rows] == ["a", "d", "b", "e"]
    scheduler.free(scheduler.rows[0])
    run(scheduler)
    assert sorted(row.request_id for row in scheduler.rows) == ["b", "c", "d", "e"]


def test_a_long_prompt_is_read_in_chunks_while_others_decode() -> None:
    scheduler = Scheduler(max_rows=4, max_step_tokens=8)
    short, long = sequence("short", 3), sequence("long", 20)
    scheduler.add(short)
    run(scheduler)
    scheduler.add(long)
    lengths = []
    while not long.is_prefilled:
        plan = run(scheduler)
        assert plan.decodes == [short]
        lengths += [chunk.length for chunk in plan.chunks]
    assert lengths == [7, 7, 6]
    assert run(scheduler).decodes == [short, long]


def test_only_the_last_chunk_gives_a_token() -> None:
    scheduler = Scheduler(max_rows=2, max_step_tokens=8)
    long = sequence("long", 12)
    scheduler.add(long)
    assert scheduler.plan().ending() == []
    run(scheduler)
    assert scheduler.plan().ending() == [long]


def test_no_more_rows_than_there_are() -> None:
    scheduler = Scheduler(max_rows=2, max_step_tokens=100)
    sequences = [sequence(str(i), 3) for i in range(3)]
    for one in sequences:
        scheduler.add(one)
    assert len(run(scheduler).chunks) == 2
    scheduler.free(sequences[0])
    assert [c.sequence for c in run(scheduler).chunks] == [sequences[2]]


def test_the_last_row_moves_into_the_hole() -> None:
    scheduler = Scheduler(max_rows=4, max_step_tokens=100)
    sequences = [sequence(str(i), 3) for i in range(3)]
    for one in sequences:
        scheduler.add(one)
    run(scheduler)
    moves = scheduler.free(sequences[0])
    assert [(m.source, m.target, m.length) for m in moves] == [(2, 0, 3)]
    assert [one.row for one in sequences] == [-1, 1, 0]


def test_a_waiting_sequence_is_forgotten() -> None:
    scheduler = Scheduler(max_rows=1, max_step_tokens=100)
    first, second = sequence("a", 3), sequence("b", 3)
    scheduler.add(first)
    scheduler.add(second)
    run(scheduler)
    assert scheduler.free(second) == []
    assert not scheduler.waiting


def test_siblings_copy_the_prompt_and_compute_its_last_position() -> None:
    scheduler = Scheduler(max_rows=4, max_step_tokens=100)
    first, later = sequence("a", 10), sequence("b", 4)
    scheduler.add(first)
    run(scheduler)
    scheduler.add(later)
    siblings = [sequence("a", 10, index) for index in (1, 2)]
    scheduler.add_first(siblings)
    plan = run(scheduler)
    assert [(m.source, m.target, m.length) for m in plan.moves] == [(0, 1, 9), (0, 2, 9)]
    assert [(c.sequence, c.length) for c in plan.chunks] == [
        (siblings[0], 1),
        (siblings[1], 1),
        (later, 4),
    ]


def test_a_sibling_whose_donor_has_gone_reads_the_prompt_itself() -> None:
    scheduler = Scheduler(max_rows=1, max_step_tokens=100)
    first, sibling = sequence("a", 10), sequence("a", 10, index=1)
    scheduler.add(first)
    run(scheduler)
    scheduler.add_first([sibling])
    scheduler.free(first)
    plan = run(scheduler)
    assert plan.moves == []
    assert plan.chunks[0].length == 10


@given(data=st.data())
def test_rows_stay_compact_whatever_comes_and_goes(data: st.DataObject) -> None:
    """And each row holds what its sequence has computed: moves are replayed on a model of it."""
    scheduler = Scheduler(max_rows=4, max_step_tokens=9)
    cache: dict[int, tuple[str, int]] = {}
    known: list[Sequence] = []
    for step in range(data.draw(st.integers(1, 12))):
        for _ in range(data.draw(st.integers(0, 2))):
            known.append(sequence(f"{step}-{len(known)}", data.draw(st.integers(1, 20))))
            scheduler.add(known[-1])
        plan = run(scheduler)
        cache |= {one.row: (one.request_id, one.num_computed) for one in scheduler.rows}
        assert len(plan.decodes) + sum(c.length for c in plan.chunks) <= 9
        for one in data.draw(st.lists(st.sampled_from(known), unique=True)) if known else []:
            known.remove(one)
            for move in scheduler.free(one):
                assert cache[move.source][1] == move.length
                cache[move.target] = cache[move.source]
        assert [one.row for one in scheduler.rows] == list(range(len(scheduler.rows)))
        assert len(scheduler.rows) <= 4
        assert not any(
            one.is_prefilled for one in scheduler.rows if not scheduler.rows[0].is_prefilled
        )
        partial = [one.row for one in scheduler.rows if not one.is_prefilled]
        assert partial in ([], [len(scheduler.rows) - 1])
        for one in scheduler.rows:
            assert cache[one.row] == (one.request_id, one.num_computed)
