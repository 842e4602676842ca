//! PTX that is right, but beyond this executor, is called so: its author has made no mistake.

#[allow(dead_code, reason = "the single-instruction half of the harness is for other tests")]
mod common;

use common::program;
use ptx_emu::{Module, ParseError};

/// What the error says is not supported; its line must be the text's.
#[track_caller]
fn unsupported(text: &str, marker: &str) -> String {
    let wanted = text.lines().position(|line| line.contains(marker)).expect("the marker is in the text") + 1;
    match Module::parse(text) {
        Err(ParseError::Unsupported { line, what, .. }) if line as usize == wanted => what,
        other => panic!("line {wanted} is to be unsupported, not {other:?}"),
    }
}

#[test]
fn instructions() {
    for (instruction, what) in [
        ("mbarrier.init.shared.b64 [%rd1], 1;", "`mbarrier`"),
        ("cp.async.ca.shared.global [%r1], [%rd1], 16;", "`cp`"),
        ("wgmma.fence.sync.aligned;", "`wgmma`"),
        ("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r0}, [%r4];", "`ldmatrix`"),
        ("elect.sync %r1|%p1, 0xffffffff;", "`elect`"),
        ("vadd4.u32.u32.u32 %r1, %r2, %r3, %r4;", "`vadd4`"),
        ("tex.2d.v4.f32.s32 {%f0, %f1, %f2, %f3}, [%rd1, {%r0, %r1}];", "textures and tensors"),
        ("mov.u64 %rd1, %clock64;", "`%clock64`"),
        ("fma.rz.f64 %fd0, %fd1, %fd2, %fd3;", "directed rounding"),
        ("call.uni vprintf;", "`vprintf`"),
        (".reg .v4 .f32 %vector;", "a vector register"),
    ] {
        let said = unsupported(&program("", instruction), instruction);
        assert!(said.contains(what), "{instruction}: {said}");
    }
}

#[test]
fn directives() {
    for (directive, what) in [
        (".global .texref image;", "a texture"),
        (".global .attribute(.managed) .u32 managed;", "an attribute"),
        (".global .b128 wide;", "128 bits"),
        (".extern .global .u32 elsewhere;", "an external variable"),
        (".alias one, other;", "this directive"),
        (".func (.reg .u32 %r) f(.reg .u32 %a) { ret; }", "in a register"),
        (".address_size 32", "32 bits"),
    ] {
        let text = program("", "").replacen(".visible", &format!("{directive}\n.visible"), 1);
        let said = unsupported(&text, directive);
        assert!(said.contains(what), "{directive}: {said}");
    }
}
