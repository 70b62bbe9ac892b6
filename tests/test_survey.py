"""Many prompts: nothing lost, nothing double, and each row what one prompt says by itself."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmtt_widget as lmtt
from lmtt_widget.surveys.store import Folder, chunks_in

from .grammar_prompts import prompts as grammar
from .surveyed import files, lines_until, surveying

ROOT = Path(__file__).resolve().parents[1]
PROMPTS = list(grammar(12, seed=3))


@pytest.fixture(scope="module")
def made(bundled: lmtt.Model, tmp_path_factory: pytest.TempPathFactory) -> lmtt.Survey:
    """A dozen prompts, one of them twice and one that is refused, with columns of our own."""
    given: list[Any] = [{"prompt": p, "place": k % 2, "name": f"n{k}"} for k, p in enumerate(PROMPTS)]
    given += [{"prompt": PROMPTS[0], "place": 0, "name": "again"}, {"prompt": "", "place": 1, "name": "empty"}]
    folder = tmp_path_factory.mktemp("survey")
    return lmtt.survey(bundled, given, folder, keep=("prompts", "tokens"), chunk=5, progress=False)


# ---- rows ----


def test_a_row_is_what_one_prompt_says_by_itself(made: lmtt.Survey, bundled: lmtt.Model) -> None:
    for number in (0, 4, 7):
        run = lmtt.record(bundled, PROMPTS[number])
        graph = lmtt.attribute(run)
        routes = lmtt.trace(graph)
        attention = [p for p in run.parts if p.heads is not None]
        flow = np.stack([routes.head_flow[p.number] for p in attention])
        assert made.column("head_flow")[number] == pytest.approx(flow, abs=1e-6)
        effects = {(e.layer, e.head): e.value for e in lmtt.direct_logit_attribution(run).effects if e.kind == "head"}
        for (layer, head), value in effects.items():
            assert made.column("head_effect")[number][layer, head] == pytest.approx(value, abs=1e-5)
        assert made.column("ids")[number] == run.token_ids.tolist()
        assert made.column("input_share")[number] == pytest.approx(routes.input_share.tolist(), abs=1e-6)


def test_the_sums_of_roles_are_those_of_a_loop_over_queries_and_keys(made: lmtt.Survey, bundled: lmtt.Model) -> None:
    run = lmtt.record(bundled, PROMPTS[2])
    ids, part = run.token_ids.tolist(), run.part("attention", layer=2)
    pattern, shares = lmtt.attention_pattern(part), lmtt.head_shares(run, part)
    for role, plays in {
        "previous": lambda q, k: k == q - 1,
        "duplicate": lambda q, k: ids[k] == ids[q],
        "induction": lambda q, k: k > 0 and ids[k - 1] == ids[q] and k - 1 < q,
        "first": lambda q, k: k == 0,
    }.items():
        attention, share, n, chance = np.zeros(8), np.zeros(8), 0, 0.0
        for q in range(run.n_tokens):
            keys = [k for k in range(q + (role == "induction")) if plays(q, k)]
            n, chance = n + bool(keys), chance + len(keys) / (q + 1)
            attention += sum((pattern[:, q, k].numpy() for k in keys), np.zeros(8))
            share += sum((shares[:, q, k].numpy() for k in keys), np.zeros(8))
        k = made.facts["layout"]["roles"].index(role)
        assert made.column("attention_role")[2, k, 2] == pytest.approx(attention, abs=1e-5)
        assert made.column("share_role")[2, k, 2] == pytest.approx(share, abs=1e-5)
        assert made.column("role_n")[2, k] == n
        assert made.column("role_chance")[2, k] == pytest.approx(chance, abs=1e-5)


def test_a_prompt_given_twice_counts_once_and_a_refused_one_is_a_row(made: lmtt.Survey) -> None:
    assert (made.n_prompts, made.n_duplicates, made.n_refused) == (12, 1, 1)
    assert list(made.errors) == [13]
    assert "empty" in made.errors[13]
    found = made.flow()
    assert (found.n_prompts, found.n_duplicates, found.n_refused) == (12, 1, 1)
    assert found.value == pytest.approx(made.column("head_flow")[:12].mean(0), abs=1e-6)


def test_tokens_add_up_to_their_prompt(made: lmtt.Survey) -> None:
    tokens = made.sql("select number, pos, head_flow, input_share from tokens order by number, pos").fetchall()
    for number in (0, 7):
        mine = [row for row in tokens if row[0] == number]
        assert [row[1] for row in mine] == list(range(len(mine)))
        total = np.sum([row[2] for row in mine], axis=0).reshape(4, 8)
        assert total == pytest.approx(made.column("head_flow")[number], abs=1e-5)
        assert [row[3] for row in mine] == pytest.approx(made.column("input_share")[number], abs=1e-6)


# ---- what is said of all ----


@pytest.fixture(scope="module")
def blocks(bundled: lmtt.Model, tmp_path_factory: pytest.TempPathFactory) -> lmtt.Survey:
    """Blocks of random tokens given twice, where heads that continue repetitions show."""
    from tools.bundled.grammar import random_block
    from tools.bundled.measure import ordinary_tokens

    rng, ids = random.Random(5), ordinary_tokens(bundled.tokenizer)
    given = [random_block(rng, ids, 40, "held-out") * 2 for _ in range(12)]
    return lmtt.survey(bundled, given, tmp_path_factory.mktemp("blocks"), progress=False)


def test_the_map_names_the_heads_that_are_known(blocks: lmtt.Survey) -> None:
    previous, induction = blocks.role("previous"), blocks.role("induction")
    assert previous.best(1) == [(1, 3)]
    assert set(induction.best(3)) == {(2, 5), (2, 6), (2, 7)}
    for found, (layer, head) in ((previous, (1, 3)), (induction, (2, 7)), (induction, (2, 6))):
        assert found.apart is not None
        assert found.apart[layer, head]
        assert found.low[layer, head] > 0.8
        assert found.low[layer, head] <= found.value[layer, head] <= found.high[layer, head]


def test_a_role_is_what_another_count_of_the_same_says(bundled: lmtt.Model, blocks: lmtt.Survey) -> None:
    """transformers' own patterns, by diagonals."""
    import torch

    ids = torch.tensor(np.stack(blocks.column("ids").tolist()))
    used = bundled.config._attn_implementation
    bundled.module.set_attn_implementation("eager")
    with torch.no_grad():
        pattern = torch.stack(bundled.module(ids, output_attentions=True).attentions)
    bundled.module.set_attn_implementation(used)
    by_hand = pattern.diagonal(-1, -2, -1).mean((1, 3)).numpy()
    assert blocks.role("previous").value == pytest.approx(by_hand, abs=1e-5)


def test_classes_joined_afterwards_are_means_over_their_tokens(made: lmtt.Survey) -> None:
    found = made.classes(lambda text: "capital" if text.strip("·")[:1].isupper() else None)["capital"]
    rows = made.sql("select number, text, head_share from tokens where number < 12").fetchall()
    mine = [np.reshape(row[2], (4, 8)) for row in rows if row[1].strip("·")[:1].isupper()]
    assert found.n_queries == len(mine)
    assert found.value == pytest.approx(np.mean(mine, 0), abs=1e-6)


def test_two_sets_are_compared_head_by_head(made: lmtt.Survey) -> None:
    found = made.compare("place = 0", "place = 1", times=200)
    flow = made.column("head_flow")[:12]
    assert found.difference == pytest.approx(flow[0::2].mean(0) - flow[1::2].mean(0), abs=1e-6)
    assert found.n_prompts == (6, 6)
    with pytest.raises(ValueError, match="no prompt in common, got 6"):
        made.compare(None, "place = 1")


def test_random_halves_of_real_rows_differ_in_no_more_than_one_of_twenty_tries(
    bundled: lmtt.Model, tmp_path: Path
) -> None:
    """Without the correction some head differs in most of them. Of 200 tries 21 or more would be one of a thousand."""
    many = lmtt.survey(bundled, list(grammar(60, seed=11)), tmp_path, progress=False)
    rng, corrected, plain = random.Random(1), 0, 0
    for _ in range(200):
        half = [rng.random() < 0.5 for _ in range(60)]
        found = many.compare(half, [not one for one in half], times=100)
        corrected += bool((found.p < 0.05).any())
        plain += bool((abs(found.t) > 2).any())
    assert corrected <= 20
    assert plain >= 100


def test_how_often_a_head_is_on_the_route_is_counted(made: lmtt.Survey) -> None:
    found = made.frequency(0.1)
    by_hand = (made.column("head_strength")[:12] > 0.1).mean(0)
    assert found.value == pytest.approx(by_hand)
    assert (found.low <= found.value + 1e-9).all()


def test_examples_are_the_prompts_in_which_a_head_stands_out(made: lmtt.Survey) -> None:
    found = made.examples(layer=1, head=3, k=3)
    flow = made.column("head_flow")[:12, 1, 3]
    assert [e.number for e in found] == np.argsort(-flow)[:3].tolist()
    assert found[0].prompt == PROMPTS[found[0].number]


def test_an_example_opens_with_its_head_selected(made: lmtt.Survey, bundled: lmtt.Model) -> None:
    widget = made.examples(layer=1, head=3, k=1)[0].open(bundled)
    assert widget.selection["kind"] == "head"
    assert widget.selection["head"] == 3
    assert widget.routes.graph.states[widget.selection["state"]].layer == 1
    widget.close()


def test_everything_comes_out_as_a_frame(made: lmtt.Survey) -> None:
    assert made.to_frame().height == 14
    assert made.flow().to_frame().columns[:3] == ["layer", "head", "value"]
    assert made.role("previous").to_frame().height == 32
    assert made.compare("place = 0", "place = 1", times=10).to_frame().height == 32
    tags = made.to_frame("tokens", ["number", "pos"])
    joined = made.sql("select count(*) from tokens join tags using (number, pos)", tags=tags)
    assert joined.fetchall()[0][0] == tags.height


# ---- nothing lost, nothing double ----


def test_a_second_call_makes_nothing_anew_and_says_how_far_it_is(bundled: lmtt.Model, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    lmtt.survey(bundled, PROMPTS[:5], tmp_path, chunk=2, progress=lambda *told: heard.append(told))
    assert heard == [(2, 5), (4, 5), (5, 5)]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    lmtt.survey(bundled, PROMPTS[:5], tmp_path, chunk=2, progress=False)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_generator_a_dataset_and_a_list_give_the_same_files(bundled: lmtt.Model, tmp_path: Path) -> None:
    kinds = {
        "list": PROMPTS[:4],
        "generator": (p for p in PROMPTS[:4]),
        "mappings": [{"text": p} for p in PROMPTS[:4]],
    }
    for name, given in kinds.items():
        lmtt.survey(bundled, given, tmp_path / name, chunk=3, progress=False)
    assert files(tmp_path / "list") == files(tmp_path / "generator") == files(tmp_path / "mappings")


@pytest.mark.parametrize("damage", ["lost", "cut", "foreign bytes"])
def test_a_chunk_that_is_lost_or_damaged_is_made_again(bundled: lmtt.Model, tmp_path: Path, damage: str) -> None:
    lmtt.survey(bundled, PROMPTS[:4], tmp_path, chunk=2, progress=False)
    before = files(tmp_path)
    victim = next(tmp_path.glob("prompts-000001-*"))
    if damage == "lost":
        victim.unlink()
    else:
        victim.write_bytes(b"not parquet" if damage == "foreign bytes" else victim.read_bytes()[:-100])
        with pytest.raises(ValueError, match=r"prompts-000001-\w+.parquet is half-written or damaged"):
            lmtt.load_survey(tmp_path).flow()
    lmtt.survey(bundled, PROMPTS[:4], tmp_path, chunk=2, progress=False)
    assert files(tmp_path) == before


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed") / "survey"
    with surveying(folder, "embedded") as process:
        pass
    assert process.returncode == 0
    return files(folder)


def test_killed_five_times_and_called_again_the_files_are_the_same(
    undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "survey"
    for after in ("done 4", "done 8", "done 16", "done 24", "done 32"):
        with surveying(folder, "embedded") as process:
            list(lines_until(process, after))
            os.killpg(process.pid, signal.SIGKILL)
        assert chunks_in(Folder(folder).names())  # some are there
        assert len(chunks_in(Folder(folder).names())) < 10  # not all
    with surveying(folder, "embedded") as process:
        pass
    assert process.returncode == 0
    assert files(folder) == undisturbed


@pytest.mark.slow
def test_with_an_engine_workers_killed_three_times_and_the_driver_twice_the_files_are_the_same(
    undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "survey"
    for worker, driver in (("done 4", "done 12"), ("done 16", "done 24"), ("done 28", None)):
        with surveying(folder, "engine") as process:
            said = list(lines_until(process, worker))
            workers = next(line for line in said if line.startswith("workers")).split()[1:]
            os.kill(int(workers[0]), signal.SIGKILL)
            if driver is not None:
                list(lines_until(process, driver))
                os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode == (0 if driver is None else -signal.SIGKILL)
    assert files(folder) == undisturbed


def test_any_function_that_maps_is_an_engine(bundled: lmtt.Model, tmp_path: Path) -> None:
    lmtt.survey(bundled, PROMPTS[:4], tmp_path / "here", chunk=1, progress=False)
    with ThreadPool(2) as pool:
        lmtt.survey(
            lambda: bundled, PROMPTS[:4], tmp_path / "pool", chunk=1, engine=pool.imap_unordered, progress=False
        )
    assert files(tmp_path / "here") == files(tmp_path / "pool")


def test_a_folder_elsewhere_is_written_and_read_the_same(bundled: lmtt.Model, tmp_path: Path) -> None:
    lmtt.survey(bundled, PROMPTS[:3], tmp_path / "here", chunk=2, progress=False)
    away = lmtt.survey(bundled, PROMPTS[:3], "memory://many/prompts", chunk=2, progress=False)
    folder = Folder("memory://many/prompts")
    assert {name: folder.read(name) for name in folder.names()} == files(tmp_path / "here")
    assert away.flow().value == pytest.approx(lmtt.load_survey(tmp_path / "here").flow().value)


def test_a_survey_opens_without_torch(made: lmtt.Survey) -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        f"import lmtt_widget as lmtt; many = lmtt.load_survey({made.folder.at!r})\n"
        "print(many.n_prompts, many.role('previous').best(1), many.examples(1, 3, k=1)[0].head,"
        " many.compare('place = 0', 'place = 1', times=10).p.shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "12 [(1, 3)] 3 (4, 8)\n"


# ---- bad input ----


def test_a_folder_of_another_survey_is_refused_with_what_differs(bundled: lmtt.Model, tmp_path: Path) -> None:
    from . import zoo

    lmtt.survey(bundled, PROMPTS[:3], tmp_path, chunk=2, progress=False)
    before = files(tmp_path)
    with pytest.raises(ValueError, match="target is -1 there and 3 here"):
        lmtt.survey(bundled, PROMPTS[:3], tmp_path, chunk=2, target=3, progress=False)
    with pytest.raises(ValueError, match="chunk is 2 there and 3 here"):
        lmtt.survey(bundled, PROMPTS[:3], tmp_path, chunk=3, progress=False)
    with pytest.raises(ValueError, match=r"other prompts: they differ in 2\.\.2"):
        lmtt.survey(bundled, [*PROMPTS[:2], "Another one."], tmp_path, chunk=2, progress=False)
    with pytest.raises(ValueError, match="rows of more prompts than the 2 that were given"):
        lmtt.survey(bundled, PROMPTS[:2], tmp_path, chunk=2, progress=False)
    other = lmtt.load_model(zoo.make("llama"))
    with pytest.raises(ValueError, match=r"the model is .* there and .* here, by its weights"):
        lmtt.survey(other, [[1, 2, 3]], tmp_path, chunk=2, progress=False)
    assert files(tmp_path) == before


def test_a_model_with_one_other_weight_is_another_model(bundled: lmtt.Model) -> None:
    import torch

    from lmtt_widget.surveys.chunks import fingerprint

    before, weight = fingerprint(bundled), next(bundled.module.parameters())
    with torch.no_grad():
        kept = float(weight.view(-1)[0])
        weight.view(-1)[0] += 1
        changed = fingerprint(bundled)
        weight.view(-1)[0] = kept
    assert changed != before == fingerprint(bundled)


def test_a_foreign_file_is_named(bundled: lmtt.Model, tmp_path: Path) -> None:
    (tmp_path / "sales.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match=r"not of this survey: sales\.parquet"):
        lmtt.survey(bundled, PROMPTS[:2], tmp_path, progress=False)
    assert os.listdir(tmp_path) == ["sales.parquet"]
    (tmp_path / "sales.parquet").unlink()
    (tmp_path / "survey.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="is not what survey\\(\\) wrote"):
        lmtt.load_survey(tmp_path)


def test_prompts_that_are_refused_are_rows_and_stop_nothing(bundled: lmtt.Model, tmp_path: Path) -> None:
    given = ["", PROMPTS[0], b"bytes", None, [99999], [1.5], "half \ud800", [{"role": "user", "content": "hi"}]]
    many = lmtt.survey(bundled, given, tmp_path, chunk=3, progress=False)
    assert (many.n_prompts, many.n_refused) == (1, 7)
    assert "token ids must be in" in many.errors[4]
    assert "chat template" in many.errors[7]
    assert many.flow().value == pytest.approx(many.column("head_flow")[1])


def test_a_prompt_whose_logits_are_not_finite_is_a_row(bundled: lmtt.Model, tmp_path: Path) -> None:
    import torch

    embedding = bundled.module.get_input_embeddings()
    with torch.no_grad():
        kept = embedding.weight[7].clone()
        embedding.weight[7] = torch.nan
        many = lmtt.survey(bundled, [[1, 2, 3], [1, 7, 3]], tmp_path, progress=False)
        embedding.weight[7] = kept
    assert (many.n_prompts, many.n_refused) == (1, 1)
    assert "not finite" in many.errors[1]


def test_a_target_that_some_prompts_have_not_is_said_in_their_rows(bundled: lmtt.Model, tmp_path: Path) -> None:
    many = lmtt.survey(bundled, [[1, 2, 3], [1, 2, 3, 4, 5]], tmp_path, target=3, progress=False)
    assert (many.n_prompts, many.n_refused) == (1, 1)
    assert "target must be in" in many.errors[0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "there are no prompts"),
        ("one prompt", "prompts must be a list"),
        (["", ""], "none of the first 2 prompts can be split"),
        ([{"sentence": "x"}], '"prompt" or a "text"'),
        ([{"prompt": "x", "head_flow": 1}], "'head_flow' is one of the survey's own"),
        ([{"prompt": "x", "tags": [1]}], "'tags' must hold texts, numbers"),
    ],
)
def test_prompts_that_are_none_are_refused_before_anything_is_written(
    bundled: lmtt.Model, tmp_path: Path, given: Any, said: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        lmtt.survey(bundled, given, tmp_path / "new", progress=False)
    assert not (tmp_path / "new").exists()


def test_a_model_that_cannot_be_made_and_an_engine_that_is_none_are_said(bundled: lmtt.Model, tmp_path: Path) -> None:
    def none() -> lmtt.Model:
        raise OSError("no such model")

    def lazily(function: Any, tasks: Any) -> Iterator[Any]:
        return map(function, tasks)

    with pytest.raises(RuntimeError, match=r"cannot be made in a worker \(OSError: no such model\)"):
        lmtt.survey(none, PROMPTS[:2], tmp_path, engine=lazily)
    with pytest.raises(ValueError, match="pass a function"):
        lmtt.survey(bundled, PROMPTS[:2], tmp_path, engine=lazily)
    with pytest.raises(TypeError, match="engine must be None"):
        lmtt.survey(bundled, PROMPTS[:2], tmp_path, engine="dask")
    with pytest.raises(RuntimeError, match=r"ended without the chunks \[1\]"):
        lmtt.survey(lambda: bundled, PROMPTS[:2], tmp_path, chunk=1, engine=lambda f, ts: [f(t) for t in list(ts)[:1]])


def test_an_engine_without_workers_ends_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lmtt_widget.surveys import chunks

    class Alone:
        """A client whose workers are all gone: what is submitted is never done."""

        def __init__(self) -> None:
            self.cancelled: list[Any] = []

        def scheduler_info(self, n_workers: int = 5) -> dict[str, Any]:
            return {"workers": {}}

        def submit(self, *_args: Any, **_options: Any) -> Any:
            from concurrent.futures import Future

            return Future()

        def cancel(self, futures: list[Any]) -> None:
            self.cancelled += futures

    def wait(*_args: Any, **_options: Any) -> Any:
        raise TimeoutError

    import distributed

    Alone.__module__ = "distributed.client"
    monkeypatch.setattr(distributed, "wait", wait)
    client = Alone()
    with pytest.raises(RuntimeError, match="the engine has no workers any more"):
        lmtt.survey(lmtt.bundled_model, PROMPTS[:2], tmp_path, engine=client, progress=False)
    assert len(client.cancelled) == 1
    assert chunks.engine_of(client) is not client
    assert os.listdir(tmp_path) == []


def test_a_full_disk_ends_with_a_sentence_and_the_next_call_goes_on(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk."""
    code = (
        "import resource, sys, lmtt_widget as lmtt\n"
        "from tests.test_survey import PROMPTS\n"
        "model = lmtt.bundled_model()\n"
        "lmtt.record(model, PROMPTS[0])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))\n"
        f"folder = {str(tmp_path)!r}\n"
        "try: lmtt.survey(model, PROMPTS[:4], folder, chunk=2, progress=False)\n"
        "except RuntimeError as e: print(str(e)[:29])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "print(lmtt.survey(model, PROMPTS[:4], folder, chunk=2, progress=False).n_prompts)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout == "a file could not be written (\n4\n", done.stderr
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_questions_that_cannot_be_answered_are_refused_in_words(made: lmtt.Survey, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="DuckDB cannot answer"):
        made.sql("select nothing from nowhere")
    with pytest.raises(ValueError, match="DuckDB cannot answer"):
        made.flow("no such column > 1")
    with pytest.raises(ValueError, match="no prompt is left"):
        made.flow("place > 5")
    with pytest.raises(ValueError, match="14 truth values"):
        made.flow([True])
    with pytest.raises(ValueError, match="role must be"):
        made.role("nothing")
    with pytest.raises(ValueError, match="layer must be one with heads"):
        made.examples(layer=9, head=0)
    with pytest.raises(ValueError, match="no column is named"):
        made.column("nothing")
    with pytest.raises(ValueError, match="keep="):
        made.to_frame("neurons")
    with pytest.raises(ValueError, match="there is no survey in"):
        lmtt.load_survey(tmp_path)


def test_a_survey_says_what_it_is(made: lmtt.Survey) -> None:
    assert "12 prompts, 1 duplicates, 1 refused" in repr(made)
    assert json.loads(Folder(made.folder.at).read("survey.json"))["model"]["fingerprint"]


# ---- neurons ----


@pytest.fixture(scope="module")
def neurons(bundled: lmtt.Model, tmp_path_factory: pytest.TempPathFactory) -> lmtt.Survey:
    """A dozen prompts, one of them again in a later chunk, and one that is refused."""
    given = [*PROMPTS, PROMPTS[1], ""]
    return lmtt.survey(bundled, given, tmp_path_factory.mktemp("neurons"), keep=["neurons"], chunk=5, progress=False)


def test_the_cases_of_a_neuron_are_those_of_its_prompts_one_by_one(neurons: lmtt.Survey, bundled: lmtt.Model) -> None:
    runs = [lmtt.record(bundled, prompt) for prompt in PROMPTS]
    for layer, neuron in ((0, 3), (2, 5)):
        found = neurons.neuron(layer, neuron)
        each = [lmtt.sign_cases(run, run.part("mlp", layer=layer))[None] for run in runs]
        for k, case in enumerate(found.count):
            assert found.count[case] == sum(int(one.count[neuron, k]) for one in each)
            by_hand = [(abs(float(one.value[neuron, k])), n) for n, one in enumerate(each) if one.count[neuron, k]]
            by_hand = sorted(by_hand, key=lambda x: (-x[0], x[1]))[:8]
            assert [c.number for c in found.contexts[case]] == [n for _, n in by_hand]
            for context in found.contexts[case]:
                assert context.value == pytest.approx(float(each[context.number].value[neuron, k]))
                assert context.pos == int(each[context.number].pos[neuron, k])
                assert context.prompt == PROMPTS[context.number]
    assert sum(found.count.values()) == sum(run.n_tokens for run in runs)


def test_a_context_opens_with_its_neuron_selected(neurons: lmtt.Survey, bundled: lmtt.Model) -> None:
    context = max(neurons.neuron(2, 5).contexts.values(), key=len)[0]
    widget = context.open(bundled)
    assert widget.selected is not None
    assert widget.selected["value"] == pytest.approx(context.value, abs=1e-4)
    assert widget.target == context.pos
    widget.close()


def test_neurons_that_are_not_there_are_refused_in_words(
    neurons: lmtt.Survey, made: lmtt.Survey, tmp_path: Path
) -> None:
    from . import zoo

    with pytest.raises(ValueError, match="layer 2 has no neuron 100000 with a gate"):
        neurons.neuron(2, 100_000)
    with pytest.raises(ValueError, match="layer 2 has no neuron 1 of expert 3 with a gate"):
        neurons.neuron(2, 1, expert=3)
    with pytest.raises(ValueError, match=r'keep=\("prompts", "neurons"\)'):
        made.neuron(2, 5)
    with pytest.raises(ValueError, match="no neurons with a gate"):
        lmtt.survey(lmtt.load_model(zoo.make("gpt2")), [[1, 2, 3]], tmp_path, keep=["neurons"], progress=False)


def test_experts_keep_their_own_cases(tmp_path: Path) -> None:
    from . import zoo

    model = lmtt.load_model(zoo.make("mixtral"))
    prompts = [[1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 6]]
    many = lmtt.survey(model, prompts, tmp_path, keep=["neurons"], chunk=1, progress=False)
    each = [lmtt.sign_cases(run, run.part("mlp", layer=1)) for run in (lmtt.record(model, p) for p in prompts)]
    for expert in set(each[0]) | set(each[1]):
        counted = sum(one[expert].count[4] for one in each if expert in one)
        assert list(many.neuron(1, 4, expert=expert).count.values()) == counted.tolist()  # type: ignore[union-attr]


def test_the_cases_have_the_names_that_one_prompt_has() -> None:
    from lmtt_widget import gated
    from lmtt_widget.surveys import cases

    assert cases.CASES == gated.CASES
