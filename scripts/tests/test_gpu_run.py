"""The run of a packed folder, with scripts in the place of what it runs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
import unittest
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent

# What says how it was called, and ends as a file of its name wants.
STUB = """#!/usr/bin/env bash
name=$(basename "$0")
echo "$name $*" >>"$STUBS/calls"
echo "$name: ${LD_LIBRARY_PATH:-}" >>"$STUBS/paths"
while (($#)); do
    if [[ $1 == --json ]]; then echo '{}' >"$2"; fi
    shift
done
if [[ -f $STUBS/$name ]]; then source "$STUBS/$name"; fi
"""

# Says of the libraries that candle wants which are on the loader's path.
LDD = """#!/usr/bin/env bash
for name in libcublas.so.12 libcurand.so.10; do
    found=
    IFS=: read -ra folders <<<"$LD_LIBRARY_PATH"
    for folder in "${folders[@]}"; do
        if [[ -e $folder/$name ]]; then found=$folder/$name; fi
    done
    echo "	$name => ${found:-not found}"
done
"""


class Package(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.stubs = self.folder / "stubs"
        self.libraries = self.folder / "site" / "nvidia" / "cu13" / "lib"
        for made in (self.stubs, self.libraries, self.folder / "bin", self.folder / "package"):
            made.mkdir(parents=True)
        shutil.copy(SCRIPTS / "gpu_run.sh", self.folder / "package" / "run.sh")
        (self.folder / "package" / "COMMIT").write_text("abc\n")
        for name in ("gpu", "gpu-ptx", "candle", "warpnorm", "norm-bench"):
            self.script(f"package/{name}", STUB)
        for name in ("compute-sanitizer", "nvidia-smi"):
            self.script(f"bin/{name}", STUB)
        self.script("bin/ldd", LDD)
        self.environment = os.environ | {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder / "site"),
            "STUBS": str(self.stubs),
            "OUT": str(self.folder / "out"),
        }

    def script(self, path: str, text: str) -> None:
        (self.folder / path).write_text(text)
        (self.folder / path).chmod(0o755)

    def start(self, *parts: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", str(self.folder / "package" / "run.sh"), *parts],
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run_it(self, *parts: str, **environment: str) -> tuple[int, str]:
        """Its status, and its summary, which it printed too."""
        run = self.start(*parts, **environment)
        printed, _ = run.communicate(timeout=60)
        summary = (self.folder / "out" / "summary.txt").read_text()
        for line in summary.splitlines():
            self.assertIn(line, printed)
        return run.returncode, summary

    def calls(self) -> list[str]:
        return (self.stubs / "calls").read_text().splitlines()

    def steps(self, summary: str) -> list[str]:
        return [line[3:].partition(":")[0] for line in summary.splitlines() if line.endswith(" s)")]

    def packed(self) -> dict[str, str]:
        with tarfile.open(self.folder / "out" / "results.tar.gz") as tar:
            files = [member for member in tar.getmembers() if member.isfile()]
            return {Path(file.name).name: tar.extractfile(file).read().decode() for file in files}

    def test_tests_come_first_then_times_then_sanitizers(self) -> None:
        status, summary = self.run_it()
        self.assertEqual(status, 0, summary)
        sanitizers = ["memcheck", "racecheck", "initcheck", "synccheck"]
        tests, bench = ["info", "tests", "tests-ptx"], ["rows", "heads", "cold-start", "criterion"]
        self.assertEqual(self.steps(summary), [*tests, *bench, *sanitizers])
        self.assertTrue(summary.endswith("== all passed: tests bench sanitizers\n"), summary)
        self.assertEqual(sorted(os.listdir(self.folder / "out")), ["results.tar.gz", "summary.txt"])
        packed = self.packed()
        self.assertEqual(packed["summary.txt"], summary)
        wanted = {f"{step}.log" for step in [*tests, *bench, *sanitizers]}
        self.assertLessEqual(wanted | {"rows.json", "heads.json", "cold-start.json", "nvidia-smi.log"}, set(packed))

    def test_parts_are_chosen(self) -> None:
        status, summary = self.run_it("sanitizers", SANITIZERS="memcheck")
        self.assertEqual((status, self.steps(summary)), (0, ["memcheck"]))
        (call,) = [call for call in self.calls() if call.startswith("compute-sanitizer --tool")]
        for words in ("--tool memcheck --error-exitcode 1 ./gpu", "--skip bits::", "--skip invariance::"):
            self.assertIn(words, call)
        status, summary = self.run_it("bench")
        self.assertEqual((status, self.steps(summary)), (0, ["rows", "heads", "cold-start", "criterion"]))
        self.assertTrue(any("--commit abc --json" in call for call in self.calls()))
        run = self.start("benches")
        self.assertIn("usage", run.communicate(timeout=60)[0])
        self.assertEqual(run.returncode, 2)

    def test_sanitizers_are_left_out_where_they_have_no_device(self) -> None:
        (self.stubs / "compute-sanitizer").write_text("echo '========= Error: Device not supported.'; exit 1\n")
        status, summary = self.run_it("sanitizers", SANITIZERS="memcheck racecheck")
        self.assertEqual((status, self.steps(summary)), (0, []), summary)
        self.assertIn("== compute-sanitizer does not support the device: no memcheck racecheck\n", summary)
        self.assertEqual(sum(call.startswith("compute-sanitizer") for call in self.calls()), 1)
        self.assertIn("Device not supported", self.packed()["sanitizer.log"])

    def test_what_fails_or_takes_too_long_is_told_and_the_rest_runs(self) -> None:
        (self.stubs / "gpu").write_text("echo broken; exit 7\n")
        (self.stubs / "gpu-ptx").write_text("echo begun; sleep 60\n")
        status, summary = self.run_it("tests", "bench", PTX_SECONDS="1")
        self.assertEqual(status, 1)
        self.assertIn("== tests: FAILED with status 7", summary)
        self.assertIn("== tests-ptx: OUT OF TIME after", summary)
        self.assertIn("criterion", self.steps(summary))
        self.assertTrue(summary.endswith("== not passed: tests tests-ptx\n"), summary)
        packed = self.packed()
        self.assertEqual((packed["tests.log"], packed["tests-ptx.log"]), ("broken\n", "begun\n"))

    def test_all_of_it_ends_in_time(self) -> None:
        (self.stubs / "gpu").write_text("sleep 60\n")
        begun = time.monotonic()
        status, summary = self.run_it("tests", RUN_SECONDS="2")
        self.assertLess(time.monotonic() - begun, 30)
        self.assertEqual(status, 1)
        self.assertIn("== tests: OUT OF TIME after", summary)
        self.assertIn("== tests-ptx: LEFT OUT, for no time is left", summary)

    def test_what_has_run_is_packed_when_it_is_ended(self) -> None:
        (self.stubs / "gpu").write_text("touch $STUBS/begun; sleep 60\n")
        run = self.start("tests")
        while not (self.stubs / "begun").exists() and run.poll() is None:
            time.sleep(0.01)
        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=30)
        self.assertEqual(run.returncode, 143)
        packed = self.packed()
        self.assertIn("ended from outside", packed["summary.txt"])
        self.assertIn("info.log", packed)

    def test_cublas_of_13_is_found_in_python_packages(self) -> None:
        (self.libraries / "libcublas.so.13").touch()
        found = "echo $(basename $(readlink ${LD_LIBRARY_PATH%%:*}/libcublas.so)) >>$STUBS/found\n"
        (self.stubs / "warpnorm").write_text(found)
        status, summary = self.run_it("bench", LD_LIBRARY_PATH="/other")
        self.assertEqual(status, 0, summary)
        self.assertIn("== cuBLAS: libcublas.so.13\n", summary)
        self.assertEqual((self.stubs / "found").read_text(), "libcublas.so.13\n" * 3)
        paths = [line for line in (self.stubs / "paths").read_text().splitlines() if line.startswith("warpnorm")]
        self.assertTrue(all(path.endswith(f":{self.libraries}:/other") for path in paths), paths)

    def test_candle_runs_where_libraries_of_12_or_13_have_all_of_it(self) -> None:
        (self.libraries / "libcublas.so.13").touch()
        status, summary = self.run_it("tests")
        self.assertEqual(status, 0)
        self.assertIn("== candle: left out; ldd says: libcurand.so.10 => not found\n", summary)
        (self.libraries / "libcurand.so.10").touch()
        status, summary = self.run_it("tests")
        self.assertEqual((status, self.steps(summary)), (0, ["info", "tests", "tests-ptx", "candle"]))


if __name__ == "__main__":
    unittest.main()
