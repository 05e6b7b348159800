"""The encoder job on files that came in through the real ingest."""

import json

import numpy as np
from sqlalchemy import select

from app.catalog.repos import set_private
from app.db.tables import Encoding, File, FormerEncoding, StoredObject
from app.deltas.encode import encode_file
from app.gc.collect import collect
from app.jobs.context import JobContext
from tests.fixtures.files import safetensors_of
from tests.fixtures.models import ModelHub, as_bf16, base_weights, card, tuned, weight_file

BIG = "embed_tokens.weight"


def test_fine_tune_is_stored_as_deltas_against_its_base(models: ModelHub):
    base = base_weights()
    models.push("alice/base", base)
    models.run_jobs()
    alone = models.stored_nbytes()
    models.push("alice/tune", {"README.md": card("alice/base")})
    models.push("alice/tune", tuned(base, 1))
    models.run_jobs()
    encodings = models.encodings("alice/tune")
    assert {e.codec for name, e in encodings.items() if "norm" not in name} == {"CTX"}
    assert models.base_of("alice/tune", BIG) == "alice/base"
    assert models.stored_nbytes() - alone < 0.75 * alone
    models.check()


def test_base_is_plane_coded_and_everything_is_final(models: ModelHub):
    models.push("alice/base", base_weights())
    models.run_jobs()
    encodings = models.encodings("alice/base")
    assert {e.codec for n, e in encodings.items() if "norm" not in n} == {"PLANE"}
    assert all(encoding.final for encoding in encodings.values())
    assert sum(e.nbytes for e in encodings.values()) < 0.7 * len(weight_file(base_weights()))


def test_uploaded_object_goes_once_everything_is_packed(models: ModelHub):
    models.push("alice/base", base_weights())
    models.run_jobs()
    collect(models.hub, now=True)
    with models.hub.db.read() as session:
        purposes = [row.purpose for row in session.query(StoredObject)]
        assert session.query(FormerEncoding).count() == 0
    assert purposes.count("upload") == 0
    assert models.bucket_nbytes() == models.stored_nbytes()
    models.check()


def test_wrong_card_loses_to_the_nearest_parent(models: ModelHub):
    right, wrong = base_weights(1), base_weights(2)
    models.push("alice/right", right)
    models.push("bob/wrong", wrong)
    models.run_jobs()
    models.push("alice/tune", {"README.md": card("bob/wrong")})
    models.push("alice/tune", tuned(right, 3))
    models.run_jobs()
    assert models.base_of("alice/tune", BIG) == "alice/right"
    models.check()


def test_unrelated_model_is_coded_alone(models: ModelHub):
    models.push("alice/a", base_weights(1))
    models.run_jobs()
    models.push("alice/b", {"README.md": card("alice/a")})
    models.push("alice/b", base_weights(2))
    models.run_jobs()
    assert {e.base_id for e in models.encodings("alice/b").values()} == {None}
    models.check()


def test_fine_tune_of_a_fine_tune_has_depth_one(models: ModelHub):
    base = as_bf16(base_weights())
    first = as_bf16(tuned(base, 1, 4e-4))
    models.push("alice/base", base)
    models.run_jobs()
    models.push("alice/first", first)
    models.run_jobs()
    models.push("alice/second", {"README.md": card("alice/first")})
    models.push("alice/second", tuned(first, 2, 2e-4))
    models.run_jobs()
    with models.hub.db.read() as session:
        rows = {row.content_id: row for row in session.query(Encoding)}
    assert all(rows[row.base_id].base_id is None for row in rows.values() if row.base_id)
    assert sum(row.base_id is not None for row in rows.values()) > 10
    models.check()


def test_private_tensor_is_no_base_for_another_namespace(models: ModelHub):
    base = base_weights()
    models.push("alice/secret", base, private=True)
    models.run_jobs()
    models.push("bob/tune", {"README.md": card("alice/secret")}, private=True)
    models.push("bob/tune", tuned(base, 1), private=True)
    models.run_jobs()
    assert {e.base_id for e in models.encodings("bob/tune").values()} == {None}
    assert {e.base_id for e in models.encodings("alice/secret").values()} == {None}
    models.push("alice/tune", tuned(base, 2), private=True)
    models.run_jobs()
    assert models.base_of("alice/tune", BIG) == "alice/secret"


def test_base_that_turned_private_keeps_dependents_and_gets_no_new_ones(models: ModelHub):
    base = base_weights()
    models.push("alice/base", base)
    models.run_jobs()
    models.push("bob/first", tuned(base, 1))
    models.run_jobs()
    set_private(models.hub, models.repo("alice/base"), private=True)
    models.push("carol/second", tuned(base, 2))
    models.run_jobs()
    base_ids = {e.content_id for e in models.encodings("alice/base").values()}
    second = {e.base_id for e in models.encodings("carol/second").values()}
    assert not second & base_ids
    models.check()


def test_public_base_that_arrives_late_serves_private_fine_tunes_of_others(models: ModelHub):
    base = as_bf16(base_weights())
    models.push("bob/one", tuned(base, 1, 5e-4), private=True)
    models.push("carol/two", tuned(base, 2, 5e-4), private=True)
    models.run_jobs()
    assert models.base_of("carol/two", BIG) is None
    models.push("alice/base", base)
    models.run_jobs()
    assert models.base_of("bob/one", BIG) == "alice/base"
    assert models.base_of("carol/two", BIG) == "alice/base"
    models.check()


def test_extended_vocabulary_is_a_delta_of_the_rows_it_shares(models: ModelHub):
    base = base_weights(shapes={BIG: (12_000, 64), "layers.0.up.weight": (256, 64)})
    models.push("alice/base", base)
    models.run_jobs()
    longer = tuned(base, 1, 1e-4)
    extra = np.random.default_rng(5).normal(0, 0.02, (8, 64)).astype("f4")
    longer[BIG] = np.concatenate([longer[BIG], extra])
    models.push("alice/longer", {"README.md": card("alice/base")})
    models.push("alice/longer", longer)
    models.run_jobs()
    encoding = models.encodings("alice/longer")[BIG]
    assert models.base_of("alice/longer", BIG) == "alice/base"
    assert encoding.nbytes < 0.5 * longer[BIG].size * 2
    models.check()


def test_fp32_twin_of_a_bf16_model_stores_its_empty_low_planes_for_nothing(models: ModelHub):
    base = as_bf16(base_weights())
    twin = weight_file(base, "F32")
    models.push("alice/twin", {"model.safetensors": twin})
    models.run_jobs()
    assert models.stored_nbytes() < 0.36 * len(twin)
    models.check()


def test_copy_in_other_shards_adds_headers_only(models: ModelHub):
    base = base_weights()
    models.push("alice/base", base)
    models.run_jobs()
    before = models.stored_nbytes()
    names = list(base)
    shards = {
        f"model-{n}.safetensors": weight_file({k: base[k] for k in part})
        for n, part in enumerate((names[:2], names[2:]))
    }
    models.push("bob/copy", shards)
    models.run_jobs()
    assert models.stored_nbytes() - before < 4096
    models.check()


def test_text_is_compressed_where_it_pays_and_left_where_not(models: ModelHub):
    vocabulary = json.dumps({f"token{n}": n for n in range(5000)}).encode()
    noise = np.random.default_rng(0).bytes(300_000)
    models.push("alice/a", {"tokenizer.json": vocabulary, "photo.bin": noise, "note.txt": b"hi"})
    models.run_jobs()
    with models.hub.db.read() as session:
        codecs = {row.codec for row in session.query(Encoding).filter(Encoding.final.is_(True))}
    assert codecs == {"raw", "ZSTD"}
    assert models.stored_nbytes() < len(noise) + len(vocabulary) / 2
    models.check()


def test_odd_tensors_come_back(models: ModelHub):
    rng = np.random.default_rng(3)
    tensors = {
        "bytes": ("U8", (9999,), rng.bytes(9999)),
        "long": ("I64", (700,), np.arange(700).tobytes()),
        "half": ("F16", (5000,), rng.normal(size=5000).astype("f2").tobytes()),
        "double": ("F64", (1500,), rng.normal(size=1500).tobytes()),
        "zeros": ("BF16", (9000,), bytes(18000)),
        "nan": ("F32", (3000,), b"\xff" * 12000),
        "flags": ("BOOL", (6000,), rng.integers(0, 2, 6000, dtype="u1").tobytes()),
        "empty": ("F32", (0, 4), b""),
        "scalar": ("F32", (), b"\0\0\x80\x3f"),
    }
    models.push("alice/odd", {"model.safetensors": safetensors_of(tensors)})
    models.run_jobs()
    models.check()


def test_job_that_runs_twice_changes_nothing(models: ModelHub):
    models.push("alice/base", base_weights())
    models.run_jobs()
    before = {n: (e.object_id, e.start) for n, e in models.encodings("alice/base").items()}
    with models.hub.db.read() as session:
        file_ids = session.scalars(select(File.id)).all()
    for file_id in file_ids:
        encode_file(JobContext(models.hub, 999, {"file_id": file_id}))
    models.run_jobs()
    after = {n: (e.object_id, e.start) for n, e in models.encodings("alice/base").items()}
    assert after == before


def test_big_tensors_are_streamed(models: ModelHub, monkeypatch):
    for module in ("encode", "recode", "coding", "repack"):
        monkeypatch.setattr(f"app.deltas.{module}.STREAMED_NBYTES", 100_000)
    shapes = {BIG: (20_000, 64), "layers.0.up.weight": (256, 64)}
    base = base_weights(shapes=shapes)
    models.push("alice/base", base)
    models.run_jobs()
    models.push("alice/tune", tuned(base, 1))
    models.run_jobs()
    assert models.encodings("alice/tune")[BIG].codec == "CTX"
    assert models.encodings("alice/base")[BIG].codec == "PLANE"
    models.check()
