//! nvcc: where it is found, how it is called, and what its failures say. Run
//! against a stand-in, so that the tests need no toolkit.

use std::ffi::OsString;
use std::fs;

use crate::scratch::Scratch;

#[test]
fn nvcc_compiles_every_module_for_every_target() {
    let mut scratch = Scratch::new("nvcc-compiles");
    let home = scratch.toolkit("12.9.86");
    let run = scratch.set("CUDA_HOME", &home).run().unwrap();

    assert!(run.generated.starts_with(&format!(
        "pub(crate) const PROVENANCE: Provenance = Provenance {{ origin: Origin::Nvcc, \
         compiler: \"nvcc 12.9.86\", source_hash: \"{}\" }};\n",
        Scratch::source_hash()
    )));
    let modules = [("bf16", 75, "BF16"), ("bf16", 90, "BF16"), ("f32", 75, "F32"), ("f32", 90, "F32")];
    for (at, (dtype, target, define)) in modules.into_iter().enumerate() {
        let module = format!("norm.{dtype}.sm_{target}");
        let ptx = scratch.read_output(&format!("{module}.ptx"));
        let row = format!("target: {target}, isa: (8, 8), offset: 0, ptx_bytes: {}, file: FILE_{at} }},", ptx.len());
        let file = format!("FILE_{at}: &[u8] = include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{module}.ptx\"));");
        assert!(run.generated.contains(&file), "no {file} in: {}", run.generated);
        assert!(run.generated.contains(&row), "no {row} in: {}", run.generated);
        let wanted = format!(
            "// --ptx --gpu-architecture=compute_{target} --std=c++17 --fmad=false \
             -DWARPNORM_MODULE=norm -DWARPNORM_STATISTIC=Mean -DWARPNORM_SOURCE=Plain -DWARPNORM_SINK=Store \
             -DWARPNORM_ACTIVATION_{define} -I kernels -o "
        );
        assert!(ptx.starts_with(&wanted), "{ptx}");
        assert!(ptx.contains(" kernels/row.cu\n"), "{ptx}");
    }

    // nvcc replaced in place must run again, and so must nvcc with other flags.
    let nvcc = home.join("bin/nvcc");
    assert!(run.directives.contains(&format!("cargo::rerun-if-changed={}", nvcc.display())));
    for name in ["NVCC_APPEND_FLAGS", "NVCC_CCBIN", "NVCC_PREPEND_FLAGS"] {
        assert!(run.watched().contains(&name), "{name}");
    }
}

#[test]
fn the_kernel_of_columns_is_compiled_for_every_target() {
    let mut scratch = Scratch::new("nvcc-columns");
    let line = "module norm Mean Plain Store f32 bf16";
    scratch.replace("kernels/modules.txt", line, &format!("{line}\ncolumns stats f16"));
    let home = scratch.toolkit("12.9.86");
    let run = scratch.set("CUDA_HOME", &home).run().unwrap();
    let instance = "Instance { module: Module::of_columns(DType::F16), name: \"stats\", kernels: &[\"stats_f16\"], \
                    forms: &[Form::GENERAL] },";
    assert!(run.generated.contains(instance), "{}", run.generated);
    for target in [75, 90] {
        let file = format!("stats.f16.sm_{target}.ptx");
        let ptx = scratch.read_output(&file);
        let wanted = format!(
            "// --ptx --gpu-architecture=compute_{target} --std=c++17 --fmad=false \
             -DWARPNORM_MODULE=stats -DWARPNORM_ACTIVATION_F16 -I kernels -o "
        );
        assert!(ptx.starts_with(&wanted) && ptx.contains(" kernels/columns.cu\n"), "{ptx}");
        assert!(run.generated.contains(&file), "{}", run.generated);
    }
}

/// Of the types that the line names, for the targets that have them; their names end in what is special about them.
#[test]
fn paths_have_kernels_of_their_own() {
    let mut scratch = Scratch::new("nvcc-paths");
    let line = "module norm Mean Plain Store f32 bf16";
    let paths = [
        "aligned",
        "aligned_looped",
        "aligned_with_offset_paired",
        "aligned_paired_full",
        "aligned_paired_even",
        "aligned_paired_lines",
        "shifted_paired_lanes",
    ];
    scratch.replace("kernels/modules.txt", line, &format!("{line}\npaths norm bf16 {}", paths.join(" ")));
    let home = scratch.toolkit("12.9.86");
    let run = scratch.set("CUDA_HOME", &home).run().unwrap();
    for (dtype, more, forms) in [
        (
            "bf16",
            ", \"norm_bf16_aligned\", \"norm_bf16_aligned_looped\", \"norm_bf16_aligned_with_offset_paired\", \
             \"norm_bf16_aligned_paired_full\", \"norm_bf16_aligned_paired_even\", \"norm_bf16_aligned_paired_lines\", \
             \"norm_bf16_shifted_paired_lanes\"",
            ", Form::registers(Path::Aligned, Threads::Single), Form::looped(Path::Aligned), \
             Form::registers(Path::AlignedWithOffset, Threads::Paired), \
             Form::registers(Path::Aligned, Threads::PairedFull), \
             Form::registers(Path::Aligned, Threads::PairedEven), \
             Form::registers(Path::Aligned, Threads::PairedLines), Form::registers(Path::Shifted, Threads::PairedLanes)",
        ),
        ("f32", "", ""),
    ] {
        let wanted = format!(
            "name: \"norm\", kernels: &[\"norm_{dtype}_registers\", \"norm_{dtype}_looped\"{more}], \
             forms: &[Form::GENERAL, Form::LOOPED{forms}] }},"
        );
        assert!(run.generated.contains(&wanted), "{}", run.generated);
        for target in [75, 90] {
            let ptx = scratch.read_output(&format!("norm.{dtype}.sm_{target}.ptx"));
            let there = dtype == "bf16" && target == 90;
            let wanted = " -DWARPNORM_ACTIVATION_BF16 -DWARPNORM_PATH_ALIGNED -DWARPNORM_PATH_ALIGNED_LOOPED \
                          -DWARPNORM_PATH_ALIGNED_WITH_OFFSET_PAIRED \
                          -DWARPNORM_PATH_ALIGNED_PAIRED_FULL -DWARPNORM_PATH_ALIGNED_PAIRED_EVEN \
                          -DWARPNORM_PATH_ALIGNED_PAIRED_LINES \
                          -DWARPNORM_PATH_SHIFTED_PAIRED_LANES -I ";
            assert_eq!((ptx.contains(wanted), ptx.contains("_PATH_")), (there, there), "{ptx}");
        }
    }
}

#[test]
fn the_number_of_processes_does_not_change_the_outcome() {
    let outcome = |jobs: &str| {
        // In one folder: its path is in the stand-in's PTX.
        let mut scratch = Scratch::new("jobs");
        let home = scratch.toolkit("12.9.86");
        let run = scratch.set("CUDA_HOME", home).set("NUM_JOBS", jobs).run().unwrap();
        run.generated
    };
    let one = outcome("1");
    assert_eq!(one.matches("EmbeddedModule { instance").count(), 4);
    for jobs in ["0", "3", "64", "many"] {
        assert_eq!(outcome(jobs), one, "NUM_JOBS={jobs}");
    }
}

#[test]
fn nvcc_is_taken_even_where_the_prebuilt_ptx_is_stale() {
    let mut scratch = Scratch::new("nvcc-over-stale");
    scratch.write("kernels/row.cu", "// changed\n");
    let home = scratch.toolkit("12.9.86");
    let run = scratch.set("CUDA_HOME", home).run().unwrap();
    assert!(run.generated.contains("Origin::Nvcc"));
}

#[test]
fn the_places_of_nvcc_are_searched_in_order() {
    let mut scratch = Scratch::new("search-order");
    let versions = ["12.1.1", "12.2.2", "12.3.3", "12.4.4"];
    let homes = versions.map(|version| scratch.toolkit(version));
    let empty = scratch.package("kernels");
    let path = std::env::join_paths([
        empty.clone(),
        homes[0].join("bin"),
        // The stand-in needs the shell's tools.
        "/usr/bin".into(),
        "/bin".into(),
    ])
    .unwrap();

    // Each place added comes before those that were there.
    let places: [(&str, OsString); 4] = [
        ("PATH", path),
        ("CUDA_PATH", homes[1].clone().into()),
        ("CUDA_HOME", homes[2].clone().into()),
        ("NVCC", homes[3].join("bin/nvcc").into()),
    ];
    for ((name, value), version) in places.into_iter().zip(versions) {
        let run = scratch.set(name, value).run().unwrap();
        assert!(run.generated.contains(&format!("\"nvcc {version}\"")), "{name}: {}", run.generated);
    }

    // A folder without nvcc, and a variable set to nothing, are passed over.
    let run = scratch.set("NVCC", "").set("CUDA_HOME", empty).run().unwrap();
    assert!(run.generated.contains("\"nvcc 12.2.2\""));
}

#[test]
fn a_bare_name_in_nvcc_is_looked_for_in_path() {
    let mut scratch = Scratch::new("bare-name");
    let bin = scratch.toolkit("12.5.5").join("bin");
    fs::rename(bin.join("nvcc"), bin.join("nvcc-12.5")).unwrap();
    let run = scratch.set("NVCC", "nvcc-12.5").set("PATH", bin).run().unwrap();
    assert!(run.generated.contains("\"nvcc 12.5.5\""));
}

#[test]
fn nvcc_asked_for_and_absent_is_an_error() {
    let mut scratch = Scratch::new("absent");
    let home = scratch.package("kernels");
    let said = scratch.set("WARPNORM_PTX", "nvcc").set("CUDA_PATH", &home).refusal();
    let wanted = format!(
        "nvcc was looked for in: NVCC (not set), CUDA_HOME (not set), CUDA_PATH ({} is no file), \
         PATH (no folder of it holds nvcc)",
        home.join("bin/nvcc").display()
    );
    assert!(said.ends_with(&wanted), "{said}");
    assert!(said.contains("WARPNORM_PTX=prebuilt"), "{said}");

    // In the default mode too, NVCC is not passed over.
    let mut scratch = Scratch::new("absent-variable");
    let said = scratch.set("NVCC", "/nowhere/nvcc").refusal();
    assert!(said.starts_with("NVCC is `/nowhere/nvcc`"), "{said}");
}

#[test]
fn a_failing_nvcc_is_quoted() {
    let mut scratch = Scratch::new("failing");
    let home = scratch.toolkit("12.9.86");
    let complaint = "kernels/row.cu(3): error: identifier \"lane\" is undefined";
    fs::write(home.join("bin/complaint"), complaint).unwrap();
    fs::write(home.join("bin/status"), "2").unwrap();
    let said = scratch.set("CUDA_HOME", home).refusal();
    for wanted in [complaint, "exit status: 2", "compute_75", "-DWARPNORM_ACTIVATION_BF16", "WARPNORM_PTX=prebuilt"] {
        assert!(said.contains(wanted), "no {wanted} in: {said}");
    }
}

#[test]
fn what_nvcc_prints_is_passed_on_once() {
    let mut scratch = Scratch::new("complaining");
    let home = scratch.toolkit("12.9.86");
    fs::write(home.join("bin/complaint"), "an old architecture\n\n").unwrap();
    let run = scratch.set("CUDA_HOME", home).run().unwrap();
    assert_eq!(run.warnings(), ["nvcc: an old architecture"]);
}

#[test]
fn a_program_that_is_no_nvcc_is_refused() {
    let mut scratch = Scratch::new("no-nvcc");
    let said = scratch.set("NVCC", "/bin/echo").refusal();
    assert!(said.contains("it printed no version"), "{said}");
}
