//! Runs of the binary.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What a run of the tool left.
#[derive(Debug)]
pub struct Run {
    /// The exit code; None where a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The binary, its output not yet redirected.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warpnorm"));
    command.stdin(Stdio::null());
    command
}

/// Runs the tool to its end.
pub fn warpnorm<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Run {
    let output = command().args(arguments).output().unwrap();
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Run {
    /// Asserts success with nothing said on stderr.
    #[track_caller]
    pub fn passed(self) -> Run {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{}", self.stdout);
        self
    }

    /// Asserts an error of this exit code: one line, which says each of `words`, and nothing else.
    #[track_caller]
    pub fn failed(self, code: i32, words: &[&str]) -> Run {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        assert!(self.stderr.starts_with("error: ") && self.stderr.ends_with('\n'), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "wanted {word:?} in {:?}", self.stderr);
        }
        self
    }
}

/// A file of the repository's fixtures.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}
