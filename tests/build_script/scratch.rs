//! A package and an environment for the build script to run on, made of files
//! that a test writes and breaks as it likes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::toolchain::{BuildError, GENERATED, GENERATED_CUBINS, Request, embed_ptx, fnv};

/// Two modules for two targets.
const TABLE: &str = "\
# a comment
targets 75 90
flags --std=c++17 --fmad=false
max-isa 8.2
cubins 90
module norm Mean Plain Store f32 bf16
";

/// The modules, and the targets with how many bytes the manifest says that their texts have.
const PREBUILT: [(&str, [(u32, usize); 2]); 2] =
    [("norm.bf16", [(75, 1075), (90, 1090)]), ("norm.f32", [(75, 3275), (90, 3290)])];

/// A change to a package, its name before it and behind it what the build script then says.
pub type Change = (&'static str, fn(&Scratch), &'static str);

/// A package with kernels and the environment that its build sees.
pub struct Scratch {
    root: PathBuf,
    env: BTreeMap<String, OsString>,
}

/// What a successful run of the build script left.
pub struct Run {
    /// The text of the generated Rust source.
    pub generated: String,
    /// The text of the one about cubins.
    pub generated_cubins: String,
    /// What cargo is told.
    pub directives: Vec<String>,
}

impl Run {
    /// The variables that cargo is told to watch.
    pub fn watched(&self) -> Vec<&str> {
        self.directives.iter().filter_map(|line| line.strip_prefix("cargo::rerun-if-env-changed=")).collect()
    }

    /// The warnings that cargo is to show.
    pub fn warnings(&self) -> Vec<&str> {
        self.directives.iter().filter_map(|line| line.strip_prefix("cargo::warning=")).collect()
    }
}

impl Scratch {
    /// A package in a folder of its own, with prebuilt PTX that belongs to the
    /// sources, no nvcc anywhere and no variable set.
    pub fn new(test: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        if root.exists() {
            fs::remove_dir_all(&root).unwrap();
        }
        let scratch = Self {
            env: BTreeMap::from([
                ("CARGO_MANIFEST_DIR".to_owned(), root.join("package").into()),
                ("OUT_DIR".to_owned(), root.join("out").into()),
            ]),
            root,
        };
        fs::create_dir_all(scratch.root.join("out")).unwrap();
        scratch.write("kernels/modules.txt", TABLE);
        scratch.write("kernels/row.cu", "#include \"common/warp.cuh\"\n");
        scratch.write("kernels/common/warp.cuh", "int lane();\nint warp();\n");
        scratch.write_prebuilt("8.2");
        scratch
    }

    /// Writes a file of the package.
    pub fn write(&self, file: &str, text: &str) {
        let path = self.package(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Reads a file of the package.
    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.package(file)).unwrap()
    }

    /// Reads a file that the build script wrote.
    pub fn read_output(&self, file: &str) -> String {
        fs::read_to_string(self.root.join("out").join(file)).unwrap()
    }

    /// The same, of a file that is no text.
    pub fn read_output_bytes(&self, file: &str) -> Vec<u8> {
        fs::read(self.root.join("out").join(file)).unwrap()
    }

    /// The path of a file of the package.
    pub fn package(&self, file: &str) -> PathBuf {
        self.root.join("package").join(file)
    }

    /// Replaces text that must be there in a file of the package.
    pub fn replace(&self, file: &str, from: &str, to: &str) {
        let text = self.read(file);
        assert!(text.contains(from), "{file} has no {from:?}");
        self.write(file, &text.replace(from, to));
    }

    /// The hash of the sources as they were first written.
    pub fn source_hash() -> String {
        Self::hash_of(TABLE)
    }

    /// The same with another table.
    pub fn hash_of(table: &str) -> String {
        let mut hasher = fnv::Hasher::new();
        for (file, text) in [
            ("common/warp.cuh", "int lane();\nint warp();\n"),
            ("modules.txt", table),
            ("row.cu", "#include \"common/warp.cuh\"\n"),
        ] {
            hasher.write(format!("{file}\0{text}\0").as_bytes());
        }
        hasher.finish()
    }

    /// Writes what stands for prebuilt PTX of an ISA and for machine code, which the build script does not decompress,
    /// and the manifest that belongs to it.
    pub fn write_prebuilt(&self, isa: &str) {
        let mut manifest = format!(
            "# made for a test\nsource-hash {}\ncompiler NVRTC 12.2.140\n\
             assembler ptxas 12.9.86\nflags --std=c++17 --fmad=false\n",
            Self::source_hash()
        );
        for (module, texts) in PREBUILT {
            let compressed = format!("{module},\ncompressed\n");
            self.write(&format!("kernels/prebuilt/{module}.ptx.lzma"), &compressed);
            let hash = fnv::of_bytes(compressed.as_bytes());
            for (target, bytes) in texts {
                manifest += &format!("file {module}.ptx.lzma {hash} {isa} sm_{target} {bytes} 0123456789abcdef\n");
            }
            let compressed = format!("{module},\nassembled\n");
            self.write(&format!("kernels/prebuilt/{module}.sm_90.cubin.lzma"), &compressed);
            let hash = fnv::of_bytes(compressed.as_bytes());
            manifest += &format!("cubin {module}.sm_90.cubin.lzma {hash} sm_90 12345 0123456789abcdef\n");
        }
        self.write("kernels/prebuilt/manifest.txt", &manifest);
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) -> &mut Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// Runs the build script.
    pub fn run(&self) -> Result<Run, BuildError> {
        let get = |name: &str| self.env.get(name).cloned();
        let directives = embed_ptx(&Request::under_cargo(&get)?)?;
        let [generated, generated_cubins] = [GENERATED, GENERATED_CUBINS].map(|file| self.read_output(file));
        Ok(Run { generated, generated_cubins, directives })
    }

    /// Runs the build script, which must refuse, and returns what it says.
    pub fn refusal(&self) -> String {
        match self.run() {
            Err(error) => error.to_string(),
            Ok(run) => panic!("it was accepted:\n{}", run.generated),
        }
    }

    /// Makes each change to a package of its own: what is prebuilt must then be refused, with these words and a remedy.
    pub fn each_is_refused(test: &str, changes: &[Change]) {
        for (what, change, wanted) in changes {
            let scratch = Self::new(&format!("{test}-{what}"));
            change(&scratch);
            let said = scratch.refusal();
            assert!(said.contains(wanted), "{what}: {said}");
            assert!(said.contains("scripts/prebuilt.sh"), "{what}: {said}");
        }
    }

    /// Makes a toolkit with a stand-in nvcc of this version and returns its
    /// folder.
    #[cfg(unix)]
    pub fn toolkit(&self, version: &str) -> PathBuf {
        let home = self.root.join(format!("cuda-{version}"));
        let bin = home.join("bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("version"), version).unwrap();
        // A link and not a copy: a file that is being written, by whatever
        // thread, cannot be executed.
        let stand_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/build_script/fake_nvcc");
        std::os::unix::fs::symlink(stand_in, bin.join("nvcc")).unwrap();
        home
    }
}
