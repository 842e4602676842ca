//! The PTX in this build: what it promises, and which of it a device gets.

use std::collections::BTreeSet;
use std::path::PathBuf;
use warpnorm::cubin::{self, EmbeddedCubin};
use warpnorm::plan::{EXCHANGE_BYTES, Form, Kernel, Module, Path, Sink, Source, Threads};
use warpnorm::ptx::{self, Origin, driver_isa, select};
use warpnorm::quantise::{CodeType, Quantisation};
use warpnorm::{Activation, DType, DeviceFacts, Family, Norm, PlanError, ResidualAdd};

fn layer_norm(dtype: DType) -> Module {
    Module::of(&Norm::layer_norm(1e-5), dtype)
}

/// The same bits on every GPU: nothing approximate, nothing flushed to zero, no contraction left to the
/// assembler (it may fuse a `mul` and an `add` that name no rounding).
///
/// But for the activations of 16-bit gates, whose results may differ between GPUs where they are next to a tie.
#[test]
fn arithmetic_is_exactly_specified() {
    const OF_ACTIVATIONS: [&str; 2] = ["ex2.approx.ftz.f32", "rcp.approx.ftz.f32"];
    for module in ptx::modules() {
        let Module { sink, source, dtype, .. } = module.module();
        let gates = source == Source::Gated || matches!(sink, Sink::GatedStore | Sink::GatedQuantise);
        let mut activates = false;
        for (line, text) in module.ptx().lines().enumerate() {
            let instruction = text.trim();
            if OF_ACTIVATIONS.iter().any(|opcode| instruction.starts_with(opcode)) {
                activates = true;
                continue;
            }
            for unspecified in [".approx", ".full", ".ftz", "mul.f32", "add.f32", "sub.f32", "mad.f32"] {
                assert!(!instruction.contains(unspecified), "{module} line {}: {instruction}", line + 1);
            }
        }
        assert_eq!(activates, gates && dtype != DType::F32, "{module}");
    }
}

/// The names that a module's text exports.
fn exported(ptx: &str) -> Vec<&str> {
    let entries = ptx.lines().filter_map(|line| line.trim_start().strip_prefix(".visible .entry "));
    entries.map(|rest| rest.split('(').next().expect("a name").trim()).collect()
}

/// The PTX of the modules takes at most this much of a binary, so that more of them can be added without
/// anyone having to choose what to leave out.
const MAX_EMBEDDED_BYTES: usize = 4_000_000;

#[test]
fn the_binary_carries_prebuilt_ptx_compressed() {
    let all = ptx::modules();
    let (text, embedded) = (all.iter().map(|module| module.ptx_bytes()).sum::<usize>(), ptx::embedded_bytes());
    match ptx::provenance().origin {
        Origin::Prebuilt => {
            assert!(embedded * 6 < text, "{embedded} bytes for {text} bytes of PTX");
            assert!(embedded < MAX_EMBEDDED_BYTES, "{embedded} bytes");
        }
        Origin::Nvcc => assert_eq!(embedded, text),
    }
}

/// What machine code for a chip takes at most.
const MAX_CUBIN_BYTES: usize = 2_500_000;

/// Whether this build has the machine code that comes with the package.
fn has_prebuilt_cubins() -> bool {
    cubin::compiler().is_some_and(|compiler| compiler.starts_with("ptxas "))
}

#[test]
fn the_binary_carries_prebuilt_cubins_compressed() {
    if !has_prebuilt_cubins() {
        return;
    }
    let all = cubin::cubins();
    let targets: BTreeSet<u32> = all.iter().map(|cubin| cubin.target).collect();
    assert_eq!(all.len(), Module::all().count() * targets.len());
    for target in targets {
        let bytes =
            |of: fn(&EmbeddedCubin) -> usize| all.iter().filter(|cubin| cubin.target == target).map(of).sum::<usize>();
        let (code, embedded) = (bytes(EmbeddedCubin::code_bytes), bytes(EmbeddedCubin::file_bytes));
        assert!(embedded * 5 < code, "{embedded} bytes for {code} bytes of machine code");
        assert!(embedded < MAX_CUBIN_BYTES, "{embedded} bytes");
    }
}

/// An H100 under the oldest driver of CUDA 12, an H200 under one of CUDA 13; A100, B200, and drivers that are too old.
#[test]
fn those_of_hopper_are_loaded_on_hopper() {
    if !has_prebuilt_cubins() {
        return;
    }
    for module in Module::all() {
        let chip = |capability, driver| cubin::select(module, capability, driver).map(|cubin| cubin.target);
        assert_eq!([(12, 0), (12, 9), (13, 0)].map(|driver| chip((9, 0), driver)), [Some(90); 3], "{module}");
        assert_eq!([(8, 0), (10, 0), (12, 0)].map(|capability| chip(capability, (13, 0))), [None; 3], "{module}");
        assert_eq!(chip((9, 0), (11, 8)), None, "{module}");
    }
}

/// The tests of the build script compare the prebuilt texts with the hashes of what was compiled.
#[test]
fn texts_are_as_long_as_is_said() {
    for module in ptx::modules() {
        assert_eq!(module.ptx().len(), module.ptx_bytes(), "{module}");
    }
}

/// A line of a text that has other characters, which ptxas and the driver refuse in comments too.
fn not_ascii(text: &str) -> Option<&str> {
    text.lines().find(|line| !line.is_ascii())
}

#[test]
fn texts_are_ascii() {
    for module in ptx::modules() {
        assert_eq!(not_ascii(&module.ptx()), None, "{module}");
    }
}

/// What is in no module: kernels of tests, seeds, and those of the benchmark.
#[test]
fn committed_texts_are_ascii() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut texts) = (vec![root.clone()], 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of the sources") {
            let entry = entry.expect("an entry of a folder of the sources");
            let (path, name) = (entry.path(), entry.file_name());
            let generated = name == "target" || name.to_string_lossy().starts_with('.');
            if entry.file_type().expect("a type").is_dir() {
                folders.extend((!generated).then_some(path));
            } else if path.extension().is_some_and(|extension| extension == "ptx") {
                let text = std::fs::read_to_string(&path).expect("PTX is text");
                assert_eq!(not_ascii(&text), None, "{}", path.display());
                texts += 1;
            }
        }
    }
    assert!(texts > 0, "no PTX in {}", root.display());
}

#[test]
fn every_module_has_its_kernels_for_every_target() {
    assert!(!targets().is_empty());
    assert_eq!(ptx::modules().len(), Module::all().count() * targets().len());
    for module in Module::all() {
        let (name, dtype) = (module.name().expect("it is in the build"), module.dtype);
        let kernels: Vec<_> = module.kernels().expect("it is in the build").collect();
        let name_of = |kernel: &Kernel| {
            let Form { path, threads, looped } = kernel.form();
            let form = match (path, threads, looped) {
                (Path::General, Threads::Single, _) if of_columns(module) => "",
                (Path::General, Threads::Single, false) => "_registers",
                (Path::General, Threads::Single, true) => "_looped",
                (Path::Aligned, Threads::Single, false) => "_aligned",
                (Path::Aligned, Threads::Single, true) => "_aligned_looped",
                (Path::Aligned, Threads::Paired, false) => "_aligned_paired",
                (Path::Aligned, Threads::PairedLines, false) => "_aligned_paired_lines",
                (Path::Aligned, Threads::PairedFull, false) => "_aligned_paired_full",
                (Path::Aligned, Threads::PairedEven, false) => "_aligned_paired_even",
                (Path::Aligned, Threads::PairedLanes, false) => "_aligned_paired_lanes",
                (Path::AlignedRounded, Threads::Single, false) => "_aligned_rounded",
                (Path::AlignedRounded, Threads::Paired, false) => "_aligned_rounded_paired",
                (Path::AlignedRounded, Threads::PairedLines, false) => "_aligned_rounded_paired_lines",
                (Path::AlignedRounded, Threads::PairedFull, false) => "_aligned_rounded_paired_full",
                (Path::AlignedRounded, Threads::PairedLanes, false) => "_aligned_rounded_paired_lanes",
                (Path::AlignedWithOffset, Threads::Single, false) => "_aligned_with_offset",
                (Path::AlignedWithOffset, Threads::Paired, false) => "_aligned_with_offset_paired",
                (Path::AlignedWithOffset, Threads::PairedLines, false) => "_aligned_with_offset_paired_lines",
                (Path::AlignedWithOffset, Threads::PairedFull, false) => "_aligned_with_offset_paired_full",
                (Path::AlignedWithOffset, Threads::PairedLanes, false) => "_aligned_with_offset_paired_lanes",
                (Path::Shifted, Threads::Paired, false) => "_shifted_paired",
                other => panic!("no kernel is made for {other:?}"),
            };
            format!("{name}_{dtype}{form}")
        };
        assert!(kernels.iter().all(|kernel| kernel.name() == name_of(kernel)), "{kernels:?}");
        for target in targets() {
            // Other paths than the general one are those of fast GPUs.
            let there = |kernel: &&Kernel| target >= 90 || kernel.form().path == Path::General;
            let names: Vec<_> = kernels.iter().filter(there).map(|kernel| kernel.name()).collect();
            assert!(names.len() == if of_columns(module) { 1 } else { 2 } || target >= 90, "{names:?}");
            let mine = |embedded: &&ptx::EmbeddedModule| embedded.module() == module && embedded.target == target;
            let embedded = ptx::modules().iter().find(mine).unwrap_or_else(|| panic!("no {module} for sm_{target}"));
            let ptx = embedded.ptx();
            assert_eq!(embedded.kernels(), names);
            assert_eq!(exported(&ptx), names, "{embedded}");
            // A suffixed target would not run on later chips.
            assert!(ptx.contains(&format!(".target sm_{target}\n")), "{embedded}");
            let (major, minor) = embedded.isa;
            assert!(ptx.contains(&format!(".version {major}.{minor}\n")), "{embedded}");
        }
    }
}

/// What is loaded to run a kernel is the module's text without the others: all that it has beside its kernels, and that
/// kernel, to the letter.
#[test]
fn a_kernel_is_compiled_without_the_others_of_its_module() {
    const ENTRY: &str = ".visible .entry ";
    // nvcc announces every kernel in a comment.
    let without_comments = |text: String| -> String {
        text.split_inclusive('\n').filter(|line| !line.trim_start().starts_with("//")).collect()
    };
    for embedded in ptx::modules() {
        let whole = without_comments(embedded.ptx());
        let kernels = embedded.module().kernels().expect("it is in the build");
        let kernels: Vec<_> = kernels.filter(|kernel| embedded.kernels().contains(&kernel.name())).collect();
        let alone: Vec<_> = kernels.iter().map(|&kernel| without_comments(embedded.ptx_of(kernel))).collect();
        let head = whole.split(ENTRY).next().expect("what comes before the first kernel");
        for (kernel, text) in kernels.iter().zip(&alone) {
            assert_eq!(exported(text), [kernel.name()], "{embedded}");
            assert!(text.starts_with(head), "{embedded}");
            let of_kernel = text.split_once(ENTRY).expect("a kernel").1.trim_end();
            assert!(of_kernel.ends_with("\n}") && whole.contains(of_kernel), "{embedded}");
        }
        // Nothing is lost: what one leaves out is another's, but for empty lines between them.
        let lines = |text: &str| text.lines().filter(|line| !line.is_empty()).count();
        let of_kernels: usize = alone.iter().map(|text| lines(text) - lines(head)).sum();
        assert_eq!(of_kernels + lines(head), lines(&whole), "{embedded}");
    }
}

/// Every kernel for a GPU that can begin it early lets the next begin and waits for those before, and no other does:
/// it would not assemble.
#[test]
fn kernels_wait_for_those_in_front_of_them_where_they_may_begin_early() {
    for module in ptx::modules() {
        let text = module.ptx();
        for kernel in text.split(".entry ").skip(1) {
            let name = kernel.split('(').next().expect("a name");
            for instruction in ["griddepcontrol.launch_dependents;", "griddepcontrol.wait;"] {
                assert_eq!(kernel.contains(instruction), module.target >= 90, "{name} for sm_{}", module.target);
            }
        }
    }
}

/// Whether a module is of the kernel of columns.
fn of_columns(module: Module) -> bool {
    module == Module::of_columns(module.dtype)
}

/// Bytes of the variables that a line declares in shared memory; 0 for the stage, whose size a launch says.
fn shared_bytes(line: &str) -> u32 {
    let Some(declared) = line.trim().strip_prefix(".shared .align ") else { return 0 };
    let size = if declared.contains(" .b8 ") { 1 } else { 4 };
    assert!(size == 1 || declared.contains("32 "), "a type of another size: {line}");
    let elements = declared.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    size * elements.map_or(1, |(elements, _)| elements.parse().expect("a number"))
}

/// Plans leave so much of a CTA's shared memory to what kernels declare that stage rows in the rest. The others have
/// all of what a kernel may declare.
#[test]
fn kernels_declare_no_more_shared_memory_than_plans_leave_them() {
    const MOST_DECLARED: u32 = 48 * 1024;
    let mut most = 0;
    for module in ptx::modules() {
        let text = module.ptx();
        let mut parts = text.split(".entry ");
        let of_all: u32 = parts.next().expect("what comes before the first kernel").lines().map(shared_bytes).sum();
        for kernel in parts {
            // The stage starts at a multiple of 16.
            let bytes = (of_all + kernel.lines().map(shared_bytes).sum::<u32>()).next_multiple_of(16);
            let name = kernel.split('(').next().expect("a name");
            if name.ends_with("_looped") {
                assert!(bytes <= EXCHANGE_BYTES, "{name} for sm_{}: {bytes} bytes", module.target);
                most = most.max(bytes);
            } else {
                assert!(bytes <= MOST_DECLARED, "{name} for sm_{}: {bytes} bytes", module.target);
            }
        }
    }
    assert_eq!(most, EXCHANGE_BYTES, "as much is left as the largest takes");
}

/// The build has no kernel missing: what can be described can be run.
#[test]
fn every_norm_has_a_module() {
    for family in [Family::LayerNorm, Family::RmsNorm] {
        for dtype in DType::ALL {
            let plain = Norm::new(family, 1e-5);
            let add = plain.with_residual_add(ResidualAdd::default());
            for (norm, source, name) in
                [(plain, Source::Plain, family.name().to_owned()), (add, Source::ResidualAdd, format!("add_{family}"))]
            {
                let module = Module::of(&norm, dtype);
                assert_eq!(module, Module { statistic: family, source, sink: Sink::Store, dtype });
                assert_eq!(module.name(), Ok(name.as_str()));
                assert_eq!(module.to_string(), format!("{name} {dtype}"));
            }
        }
    }
}

/// The L2 norm runs on the module of RMSNorm, and what has no statistic on modules of its own.
#[test]
fn other_ops_have_modules() {
    let name = |norm: Norm, dtype| Module::of(&norm, dtype).name();
    let silu = Activation::SILU;
    let fp8 = Quantisation::per_token(CodeType::E4m3);
    for dtype in DType::ALL {
        assert_eq!(name(Norm::l2_norm(), dtype), Ok("rms_norm"));
        assert_eq!(name(Norm::l2_norm().with_residual_add(ResidualAdd::default()), dtype), Ok("add_rms_norm"));
        assert_eq!(name(Norm::affine(), dtype), Ok("affine"));
        assert_eq!(name(Norm::activation(silu), dtype), Ok("gated"));
        assert_eq!(name(Norm::rms_norm(1e-6).with_gate(silu), dtype), Ok("gated_rms_norm"));
        if dtype != DType::F32 {
            assert_eq!(name(Norm::activation(silu).with_quantisation(fp8), dtype), Ok("gated_quantise"));
            assert_eq!(name(Norm::layer_norm(1e-5).with_quantisation(fp8), dtype), Ok("layer_norm_quantise"));
        }
    }
    assert!(name(Norm::layer_norm(1e-5).with_gate(silu), DType::F16).is_err());
    for dtype in DType::ALL {
        assert_eq!(Module::of_columns(dtype).name(), Ok("batch_statistics"));
    }
}

#[test]
fn prebuilt_ptx_runs_on_drivers_from_cuda_12_2() {
    if ptx::provenance().origin == Origin::Prebuilt {
        assert!(ptx::modules().iter().all(|embedded| embedded.isa <= (8, 2)));
        for device in DeviceFacts::documented_gpus() {
            for module in Module::all() {
                let selected = select(module, device.compute_capability, Some((12, 2)));
                assert!(selected.is_ok(), "{}, {module}: {selected:?}", device.name);
            }
        }
    }
}

/// The targets of this build, ascending. `WARPNORM_ARCHS` may have chosen others than the default.
fn targets() -> Vec<u32> {
    ptx::modules().iter().map(|module| module.target).collect::<BTreeSet<_>>().into_iter().collect()
}

#[test]
fn a_device_gets_the_latest_target_that_it_runs() {
    for device in DeviceFacts::documented_gpus() {
        let (major, minor) = device.compute_capability;
        let wanted = targets().into_iter().rfind(|&target| target <= major * 10 + minor);
        let got = select(layer_norm(DType::BF16), (major, minor), None).ok().map(|module| module.target);
        assert_eq!(got, wanted, "{}", device.name);
    }
    if ptx::provenance().origin == Origin::Prebuilt {
        assert_eq!(targets(), [75, 90]);
    }
}

#[test]
fn devices_before_turing_are_refused_by_capability() {
    let error = select(layer_norm(DType::F32), (7, 0), None).expect_err("no target below 75");
    let targets = targets().iter().map(|target| format!("sm_{target}")).collect::<Vec<_>>().join(", ");
    assert_eq!(error, PlanError::Capability { capability: (7, 0), targets });
}

#[test]
fn drivers_too_old_for_the_ptx_are_refused_with_both_versions() {
    let newest = ptx::modules().iter().map(|module| module.isa).max().expect("modules");
    let error = select(layer_norm(DType::F32), (12, 0), Some((11, 8))).expect_err("an old driver");
    assert_eq!(error, PlanError::Isa { ptx: newest, driver: (11, 8), driver_isa: (7, 8) });
    let message = error.to_string();
    assert!(message.contains("CUDA 11.8") && message.contains("ISA 7.8"), "{message}");
}

/// The PTX ISA manual's release notes say which ISA came with which CUDA release.
#[test]
fn driver_versions_map_to_isa_versions_as_released() {
    let released = [
        ((11, 0), (7, 0)),
        ((11, 8), (7, 8)),
        ((12, 0), (8, 0)),
        ((12, 2), (8, 2)),
        ((12, 4), (8, 4)),
        ((12, 5), (8, 5)),
        ((12, 6), (8, 5)),
        ((12, 7), (8, 6)),
        ((12, 8), (8, 7)),
        ((12, 9), (8, 8)),
        ((13, 0), (9, 0)),
        ((13, 1), (9, 1)),
    ];
    for (cuda, isa) in released {
        assert_eq!(driver_isa(cuda), isa, "CUDA {}.{}", cuda.0, cuda.1);
    }
}
