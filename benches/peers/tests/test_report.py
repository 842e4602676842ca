"""What follows from known times, and what a machine without anything reports."""

import io
import json
import subprocess
import sys
import tempfile
import unittest
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from warpnorm_peers import ops, registry, report
from warpnorm_peers.main import main, parse, run
from warpnorm_peers.timing import Times, Untrusted

from . import made_up

ONE = Times((4e-6,), 8)


class ReportTest(unittest.TestCase):
    def cell(self, **changes):
        copy = report.copy_of(10**9, Times((250e-6,), 1))
        fields = dict(
            op="rms-norm", options="", dtype="bf16", rows=1, hidden=64, tensors=[], floor_bytes=8_000_000, ours=ONE,
            relative_l2=None, buffers=None, copy=copy,
            baselines=[report.baseline("slow", Times((10e-6,), 1)), report.baseline("none", OSError("a\n b"))],
        )
        return report.cell(**(fields | changes))

    def test_bandwidth_share_and_speed_up_follow(self):
        cell = self.cell()
        # 8 MB in 4 us are 2000 GB/s; a copy of 1 GB in 250 us runs at 4000.
        self.assertAlmostEqual(cell["gb_per_s"], 2000.0)
        self.assertAlmostEqual(cell["copy_share"], 0.5)
        self.assertAlmostEqual(cell["baselines"][0]["speed_up"], 2.5)
        missing = cell["baselines"][1]
        self.assertEqual((missing["time"], missing["speed_up"], missing["missing"]), (None, None, "OSError: a b"))

    def test_without_warpnorm_there_is_no_speed_up(self):
        cell = self.cell(ours=None)
        self.assertEqual([cell["time"], cell["gb_per_s"], cell["copy_share"]], [None] * 3)
        self.assertIsNone(cell["baselines"][0]["speed_up"])
        self.assertIsNotNone(cell["baselines"][0]["time"])

    def test_a_cell_that_fails_ends_neither_the_run_nor_unseen(self):
        class OutOfMemory(Exception):
            pass

        outcomes = {1: None, 8: OutOfMemory("no room"), 64: ValueError("refused"), 512: None}

        def cell(op, dtype, shape, **_):
            if outcomes[shape[0]]:
                raise outcomes[shape[0]]
            return self.cell(rows=shape[0])

        gpu = mock.MagicMock(cell=cell)
        gpu.torch.OutOfMemoryError = OutOfMemory
        gpu.copy_peak.return_value = None
        gpu.describe.return_value = report.device("cuda", "made up")
        options = parse(["--op", "rms-norm", "--quantise", "none", "--hidden", "64", "--rows", *map(str, outcomes)])
        common = {"version": "1", "commit": None, "seed": 1, "missing": []}
        kept = []
        keep = lambda found: kept.append([one["rows"] for one in found["cells"]])
        found, failures = run(gpu, options, common, None, {}, keep)
        self.assertEqual([one["rows"] for one in found["cells"]], [1, 512])
        self.assertEqual(kept, [[1], [1], [1], [1, 512]])
        self.assertEqual(failures, ["rms-norm bf16 64x64: ValueError: refused"])
        self.assertEqual([one["reason"] for one in found["missing"]],
                         ["rms-norm bf16 8x64: OutOfMemory: no room", *failures])

    def test_a_run_ends_where_a_peer_has_left_nothing_to_be_trusted(self):
        def cell(op, dtype, shape, **_):
            if shape[0] == 8:
                raise Untrusted("quack", "a capture failed")
            return self.cell(rows=shape[0])

        gpu = mock.MagicMock(cell=cell)
        gpu.copy_peak.return_value = None
        gpu.describe.return_value = report.device("cuda", "made up")
        options = parse(["--op", "rms-norm", "--quantise", "none", "--hidden", "64", "--rows", "1", "8", "64"])
        common = {"version": "1", "commit": None, "seed": 1, "missing": []}
        found, failures = run(gpu, options, common, None, {"quack": {}}, lambda _: None)
        self.assertEqual([one["rows"] for one in found["cells"]], [1])
        self.assertEqual(found["missing"][0]["baseline"], "quack")
        self.assertIn("rms-norm bf16 8x64: Untrusted: a capture failed", found["missing"][0]["reason"])
        self.assertEqual(len(failures), 1)
        self.assertTrue(failures[0].endswith("ended after 1 of 3 cells: start again with --exclude quack"), failures[0])

    def test_clocks(self):
        clocks = report.parse_clocks("535.1, [N/A], 1410, 1215, 1215, 400.00, 30")
        self.assertEqual((clocks["driver"], clocks["sm_mhz"], clocks["max_sm_mhz"]), ("535.1", None, 1410.0))
        self.assertIsNotNone(report.parse_clocks("No devices")["unknown"])

    def test_numbers_that_are_none_are_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            with self.assertRaises(ValueError):
                report.write(Path(folder) / "a.json", {"x": float("nan")})
            self.assertEqual(list(Path(folder).iterdir()), [])

    def test_a_folder_that_is_not_there_is_made(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "bench" / "gpu" / "a.json"
            report.write(path, {"x": 1.5})
            self.assertEqual(json.loads(path.read_text()), {"x": 1.5})

    def test_made_up_report_is_whole(self):
        found = made_up.made_up()
        self.assertTrue(found["timing"] and len(found["cells"]) == 5 * 4)
        every = made_up.made_up(ops.OPS)["cells"]
        keys = {tuple(cell[key] for key in ("op", "options", "dtype", "rows", "parts", "hidden")) for cell in every}
        # Two of the same are refused by `warpnorm report`.
        self.assertEqual(len(keys), len(every))
        self.assertEqual({cell["parts"] for cell in every}, {1, 32})


class MissingTest(unittest.TestCase):
    def run_main(self, *arguments):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "report.json"
            with redirect_stdout(io.StringIO()) as output:
                code = main(["--json", str(path), "--commit", "abc", *arguments])
            return code, output.getvalue(), json.loads(path.read_text(encoding="utf-8"))

    def test_without_torch_everything_is_missing_with_its_reason(self):
        # None in sys.modules makes an import fail, whatever is installed.
        with mock.patch.dict(sys.modules, {"torch": None}):
            code, text, found = self.run_main("--library", "/missing/libwarpnorm.so")
        self.assertEqual((code, found["timing"], found["cells"], found["copy"]), (0, False, [], None))
        self.assertIn("torch", found["not_a_timing"])
        self.assertEqual(found["device"]["kind"], "none")
        missing = {one["baseline"]: one["reason"] for one in found["missing"]}
        self.assertEqual(set(missing), {peer.name for peer in registry.PEERS} | {"warpnorm"})
        self.assertTrue(all(missing.values()))
        self.assertIn("/missing/libwarpnorm.so", missing["warpnorm"])
        self.assertIn("not a timing", text)

    def test_with_torch_and_no_gpu_what_is_there_has_nowhere_to_run(self):
        torch = mock.MagicMock()
        torch.cuda.is_available.return_value = False
        peers = (registry.Peer("there", lambda: {}), registry.Peer("not", lambda: __import__("no_such_library")))
        with mock.patch.dict(sys.modules, {"torch": torch}), mock.patch.object(registry.load, "__defaults__", (peers,)):
            code, _, found = self.run_main()
        reasons = {one["baseline"]: one["reason"] for one in found["missing"]}
        self.assertEqual((code, found["timing"]), (0, False))
        self.assertIn("no GPU", reasons["there"])
        self.assertIn("no_such_library", reasons["not"])

    def test_peers_that_are_left_out_are_not_loaded(self):
        load = mock.MagicMock()
        peers = (registry.Peer("liger", load), registry.Peer("fla", lambda: {}))
        with mock.patch.dict(sys.modules, {"torch": None}), mock.patch.object(registry.load, "__defaults__", (peers,)):
            _, _, found = self.run_main("--exclude", "liger")
        reasons = {one["baseline"]: one["reason"] for one in found["missing"]}
        load.assert_not_called()
        self.assertEqual(reasons["liger"], "left out by --exclude")
        self.assertIn("fla", reasons)

    def test_options_that_leave_nothing_are_refused(self):
        for what in (["--op", "activation"], ["--dtype", "f32"]):
            arguments = ["--quantise", "per-token", *what]
            with redirect_stderr(io.StringIO()) as text, self.assertRaises(SystemExit):
                parse(arguments)
            self.assertIn("no op is left", text.getvalue())
        self.assertEqual(parse(["--op", "rms-norm", "--quantise", "per-token"]).quantise, ["per-token"])

    def test_the_folder_runs(self):
        folder = Path(__file__).resolve().parents[1]
        run = subprocess.run([sys.executable, str(folder), "--help"], capture_output=True, text=True, check=True)
        self.assertIn("--peer", run.stdout)
