//! A malformed `kernels/modules.txt`.

use crate::scratch::Scratch;

const MODULE: &str = "module norm Mean Plain Store f32 bf16";

#[test]
fn a_malformed_table_is_refused_with_the_line() {
    for (from, to, wanted) in [
        ("targets 75 90", "targets 75 ninety", "line 2: `targets 75 ninety`: `ninety` is not a number"),
        ("targets 75 90", "targets", "line 2: `targets`: a value is wanted"),
        ("targets 75 90", "target 75 90", "is not one of targets, flags, max-isa, cubins, module, paths, columns"),
        ("cubins 90", "cubins sm_90", "line 5: `cubins sm_90`: `sm_90` is not a number"),
        ("max-isa 8.2", "max-isa 8", "line 4: `max-isa 8`: <major>.<minor> is wanted"),
        (MODULE, "module norm", "<name> <Statistic> <Source> <Sink> <dtype>... is wanted"),
        (MODULE, "module norm Mean Plain", "<name> <Statistic> <Source> <Sink> <dtype>... is wanted"),
        (MODULE, "module norm Mean Plain Store", "at least one dtype is wanted"),
        (MODULE, "module ../norm Mean Plain Store f32", "`../norm` has other characters"),
        (MODULE, "module norm Mean Plain Store F32", "`F32` has other characters"),
        (MODULE, "module norm f32 bf16 f16 f32", "`f32` is not a type's name"),
        (MODULE, "module norm Mean Plain<F32> Store f32", "`Plain<F32>` is not a type's name"),
        (MODULE, "module norm Mean Plain Store f32 f32", "norm f32 is listed twice"),
        (
            MODULE,
            "module norm Mean Plain Store f32\nmodule norm Mean Add Store f16",
            "norm is both Mean Add Store and Mean Plain Store",
        ),
        (
            MODULE,
            "module norm Mean Plain Store f32 f16\nmodule also Mean Plain Store f32",
            "also f32 and norm f32 are both Mean Plain Store",
        ),
        (MODULE, "module norm Mean Plain Store f32 bf16\npaths norm bf16", "<name> <dtype>,... <path>... is wanted"),
        (MODULE, "module norm Mean Plain Store f32 bf16\npaths norm f32 A", "`A` has other characters"),
        (MODULE, "module norm Mean Plain Store f32 bf16\npaths other f32 a", "no module above is other of f32"),
        (MODULE, "module norm Mean Plain Store f32 bf16\npaths norm f32,f16 a", "no module above is norm of f16"),
        (MODULE, "columns stats", "at least one dtype is wanted"),
        (MODULE, "columns Stats f32", "`Stats` has other characters"),
        (MODULE, "columns stats f32\ncolumns also f32", "also f32 and stats f32 are both columns"),
        (MODULE, "module norm Mean Plain Store f32\ncolumns norm f16", "norm is both columns and Mean Plain Store"),
        (MODULE, "", "there is no `module` line"),
        ("flags --std=c++17 --fmad=false", "", "there is no `flags` line"),
    ] {
        let scratch = Scratch::new("table");
        scratch.replace("kernels/modules.txt", from, to);
        let said = scratch.refusal();
        assert!(said.contains("modules.txt: "), "{said}");
        assert!(said.contains(wanted), "{said}");
    }
}

#[test]
fn a_package_without_kernels_is_refused() {
    let scratch = Scratch::new("no-kernels");
    std::fs::remove_dir_all(scratch.package("kernels")).unwrap();
    let said = scratch.refusal();
    assert!(said.starts_with("cannot read "), "{said}");
    assert!(said.contains("modules.txt"), "{said}");
}
