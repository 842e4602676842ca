//! Programs in C, compiled against the header and the libraries as a user of them would, and run on the devices of
//! host memory. Each compares results with formulas of its own, in double.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder of the libraries, built as the tests were. Cargo builds none for tests, which cannot link them.
fn libraries() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let executable = env::current_exe().expect("the path of this test");
        // <target>/<profile>/deps/<this test>
        let folder = executable.ancestors().nth(2).expect("a folder of the profile");
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") => "dev",
            Some(name) => name,
            None => panic!("{} has no name", folder.display()),
        };
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--locked", "-p", "warpnorm-capi", "--features", "emulator"]);
        cargo.args(["--profile", profile, "--target-dir"]).arg(folder.parent().expect("the target's folder"));
        run(cargo.current_dir(env!("CARGO_MANIFEST_DIR")));
        folder.to_owned()
    })
}

/// Runs a command, whose words are shown where it fails.
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{words}", output.status);
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn strict(compiler: &str) -> Command {
    let mut command = Command::new(compiler);
    command.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"]).arg(root().join("include"));
    command
}

/// Compiles a program against the shared library and the static one, and runs both on every device of host memory.
fn hold(name: &str) {
    let source = root().join(format!("tests/c/{name}.c"));
    let folder = libraries();
    for kind in ["shared", "static"] {
        let program = folder.join(format!("capi-{name}-{kind}"));
        let mut compiler = strict("cc");
        compiler.args(["-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-o"]).arg(&program).arg(&source);
        if kind == "shared" {
            compiler.arg(folder.join("libwarpnorm.so")).arg(format!("-Wl,-rpath,{}", folder.display()));
        } else {
            compiler.arg(folder.join("libwarpnorm.a")).arg("-ldl");
        }
        run(compiler.args(["-lm", "-lpthread"]));
        // The PTX of both targets runs in the executor.
        for device in ["cpu", "h200", "t4"] {
            run(Command::new(&program).arg(device));
        }
    }
}

#[test]
fn norms_of_rows() {
    hold("norms");
}

#[test]
fn heads_and_two_norms() {
    hold("heads");
}

#[test]
fn codes_and_columns() {
    hold("quantised");
}

#[test]
fn what_is_wrong_is_refused() {
    hold("misuse");
}

#[test]
fn threads() {
    hold("threads");
}

/// The checks of a device of CUDA, with a driver of the test's own in the place of libcuda.
#[test]
fn pointers_streams_and_contexts() {
    let folder = libraries().join("capi-fake-driver");
    std::fs::create_dir_all(&folder).expect("a folder");
    let (driver, program) = (folder.join("libcuda.so"), folder.join("cuda"));
    let source = |name: &str| root().join("tests/c").join(name);
    let compile = |output: &Path| {
        let mut compiler = strict("cc");
        compiler.args(["-std=c11", "-D_GNU_SOURCE", "-O1", "-g", "-o"]).arg(output);
        compiler
    };
    run(compile(&driver).args(["-shared", "-fPIC"]).arg(source("fake_driver.c")));
    // The same file for the program's own use and for what the library loads by name.
    let libraries = libraries();
    run(compile(&program).arg(source("cuda.c")).arg(libraries.join("libwarpnorm.so")).arg("-L").arg(&folder).args([
        "-lcuda",
        "-lm",
        &format!("-Wl,-rpath,{}:{}", libraries.display(), folder.display()),
    ]));
    run(Command::new(&program).env("LD_LIBRARY_PATH", &folder));
}

/// The program of the README does what it says.
#[test]
fn the_example() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("a README");
    let program = readme.split("```c\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a program");
    let folder = libraries();
    let (source, executable) = (folder.join("capi-example.c"), folder.join("capi-example"));
    std::fs::write(&source, program).expect("a file");
    let mut compiler = strict("cc");
    compiler.args(["-std=c11", "-o"]).arg(&executable).arg(&source).arg(folder.join("libwarpnorm.so"));
    run(compiler.arg(format!("-Wl,-rpath,{}", folder.display())));
    let output = Command::new(&executable).output().expect("it runs");
    // x·s of (1, 2, 3, 4) is 1/√7.5 for the first, and of (0, 0, 3, 4) 4/2.5 for the last.
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0.3651 3.2000\n");
    assert!(readme.contains("It prints `0.3651 3.2000`."));
}

#[test]
fn the_header_is_cpp_and_needs_no_other() {
    for (language, standard) in [("c++", "-std=c++11"), ("c++", "-std=c++20"), ("c", "-std=c11"), ("c", "-std=c2x")] {
        let header = root().join("include/warpnorm.h");
        let compiler = if language == "c" { "cc" } else { "c++" };
        run(strict(compiler).args([standard, "-x", language, "-fsyntax-only"]).arg(header));
    }
}

/// What is exported is what the header has, and nothing of Rust's.
#[test]
fn the_library_exports_the_header() {
    let library = libraries().join("libwarpnorm.so");
    let output = Command::new("nm").args(["-D", "--defined-only"]).arg(&library).output().expect("nm");
    let symbols = String::from_utf8_lossy(&output.stdout);
    let mut exported: Vec<&str> = symbols.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    exported.sort_unstable();
    let header = std::fs::read_to_string(root().join("include/warpnorm.h")).expect("the header");
    let mut declared: Vec<&str> = header
        .lines()
        .filter(|line| !line.trim_start().starts_with("//") && line.contains('('))
        .filter_map(|line| line.split('(').next()?.rsplit([' ', '*']).next())
        .filter(|name| name.starts_with("warpnorm_"))
        .collect();
    declared.sort_unstable();
    assert!(declared.len() > 15, "{declared:?}");
    assert_eq!(exported, declared);
}
