//! What fuzzing has found, by the smallest input that shows it.

#[allow(dead_code, reason = "the single-instruction half of the harness is for other tests")]
mod common;

use common::program;
use ptx_emu::{FaultKind, LaunchConfig, LaunchError, LaunchOptions, LaunchReport, Memory, Module};

fn limited(text: &str, config: &LaunchConfig, instruction_limit: u64) -> Result<LaunchReport, LaunchError> {
    let module = Module::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let options = LaunchOptions { instruction_limit, ..LaunchOptions::default() };
    module.launch_with("k", config, &[], &mut Memory::new(), &options)
}

/// The limit was looked at after 2^16 instructions of one warp without a wait, and so never in a loop
/// around a barrier.
#[test]
fn loops_around_barriers_are_stopped() {
    let text = program("", "AGAIN:\nbar.sync 0;\nbra AGAIN;");
    let result = limited(&text, &LaunchConfig::linear(1, 64), 1000);
    let Err(LaunchError::Fault(fault)) = result else { panic!("{result:?}") };
    assert_eq!(fault.kind, FaultKind::InstructionLimit { limit: 1000 });
}

/// Nor in a grid of many short CTAs.
#[test]
fn the_instruction_limit_is_exact() {
    // Two warps of three instructions and a return, in 100 CTAs.
    let text = program("", "mov.u32 %r0, 1;\nmov.u32 %r1, 2;\nmov.u32 %r2, 3;");
    let config = LaunchConfig::linear(100, 64);
    assert_eq!(limited(&text, &config, 800).expect("just enough").warp_instructions, 800);
    let result = limited(&text, &config, 799);
    let Err(LaunchError::Fault(fault)) = result else { panic!("{result:?}") };
    assert_eq!(fault.kind, FaultKind::InstructionLimit { limit: 799 });
    assert_eq!((fault.cta, fault.thread), ([99, 0, 0], [32, 0, 0]));
}

/// Room for the arguments was made before anything was known of their sizes.
#[test]
fn parameters_are_limited_to_what_the_isa_allows() {
    let module = |bytes: u64| Module::parse(&program(&format!(".param .align 1 .b8 p[{bytes}]"), ""));
    assert!(module(32_764).is_ok());
    for bytes in [32_765, 1 << 39] {
        let error = module(bytes).expect_err("too large").to_string();
        assert!(error.contains("more than 32764 bytes of parameters"), "{error}");
    }
}

/// Each variable was limited, but not their number.
#[test]
fn global_variables_are_limited_together() {
    let declared = |count: usize| {
        let variables: String = (0..count).map(|i| format!(".global .b8 big{i}[67108864];\n")).collect();
        Module::parse(&program("", "").replacen(".visible", &format!("{variables}.visible"), 1))
    };
    let module = declared(4).expect("256 MiB");
    module.launch("k", &LaunchConfig::linear(1, 1), &[], &mut Memory::new()).expect("only declared");
    let error = declared(5).expect_err("320 MiB").to_string();
    assert!(error.contains("more than 256 MiB of global variables"), "{error}");
}

/// `activemask.b64` was taken for one of 32 bits, with a register that was none of those.
#[test]
fn opcodes_take_the_registers_of_their_type_alone() {
    for body in ["activemask.b64 %rd1;", "activemask.b16 %h1;", "activemask.pred %p1;"] {
        let error = Module::parse(&program("", body)).expect_err(body).to_string();
        assert!(error.contains("this opcode takes `.b32`"), "{error}");
    }
}

/// Words of a module variable of four bytes an element, as its initial value makes them.
fn initial(declaration: &str, count: usize) -> Vec<u32> {
    let text = program(
        ".param .u64 out",
        "ld.param.u64 %rd0, [out];\nmov.u32 %r0, %tid.x;\nmul.wide.u32 %rd1, %r0, 4;\nadd.u64 %rd0, %rd0, %rd1;\n\
         mov.u64 %rd2, v;\nadd.u64 %rd2, %rd2, %rd1;\nld.global.u32 %r1, [%rd2];\nst.global.u32 [%rd0], %r1;",
    );
    let text = text.replacen(".visible", &format!("{declaration};\n.visible"), 1);
    let module = Module::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut memory = Memory::new();
    let out = memory.allocate("out", count * 4);
    let config = LaunchConfig::linear(1, count as u32);
    module.launch("k", &config, &[&out.to_le_bytes()], &mut memory).unwrap_or_else(|error| panic!("{error}"));
    let mut bytes = vec![0; count * 4];
    memory.read(out, &mut bytes).expect("written");
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().expect("4 bytes"))).collect()
}

/// Nested lists were taken for one long list, and decimal constants for the low half of a double.
#[test]
fn initial_values_go_where_their_list_says() {
    assert_eq!(initial(".global .u32 v[3] = {1, 2}", 3), [1, 2, 0]);
    assert_eq!(initial(".global .u32 v[2][2] = {{1}, {2, 3}}", 4), [1, 0, 2, 3]);
    assert_eq!(initial(".global .u32 v[][2] = {{1}, {2}}", 4), [1, 0, 2, 0]);
    assert_eq!(initial(".global .u32 v[][2] = {1, 2, 3}", 4), [1, 2, 3, 0]);
    assert_eq!(initial(".global .s32 v = -1", 1), [u32::MAX]);
    let floats = [1.5f32, -0.25].map(f32::to_bits);
    assert_eq!(initial(".global .f32 v[2] = {1.5, -0.25}", 2), floats);
    assert_eq!(initial(".global .f32 v[2] = {0f3FC00000, 0dBFD0000000000000}", 2), floats);
    let halves = |value: f64| [value.to_bits() as u32, (value.to_bits() >> 32) as u32];
    assert_eq!(initial(".global .f64 v = 0f3FC00000", 2), halves(1.5));
}

#[test]
fn initial_values_that_do_not_fit_are_refused() {
    for (declaration, says) in [
        (".global .u32 v[2] = {1, 2, 3}", "at most 2 initial values"),
        (".global .u32 v[2][2] = {{1, 2, 3}}", "at most 2 initial values"),
        (".global .u32 v[2][2] = {1, {2}}", "the list before it is not full"),
        (".global .u32 v[2] = {{1}, {2}}", "the array has no more dimensions"),
        (".global .u32 v[2] = 1", "expected `{`"),
        (".global .u32 v = 1.5", "a constant of type `.u32`"),
        (".global .f32 v = 1", "a constant of type `.f32`"),
        (".global .v2 .u32 v = {1, 2}", "an initial value of a vector is not supported"),
        (".global .u32 v[4][1099511627775]", "an array below 2^40 bytes"),
    ] {
        let text = program("", "").replacen(".visible", &format!("{declaration};\n.visible"), 1);
        let error = Module::parse(&text).expect_err(declaration).to_string();
        assert!(error.contains(says), "{declaration}: {error}");
    }
}

/// Calls of calls of calls: a page of text, and millions of instructions once they are inlined, each
/// with a text of its own.
#[test]
fn inlined_calls_are_limited() {
    let name = "x".repeat(3000);
    let calls =
        |name: &str, callee: &str| format!(".func {name}()\n{{\n{}}}\n", format!("call {callee};\n").repeat(300));
    let functions = format!(
        ".shared .u32 {name};\n.func leaf()\n{{\nst.shared.u32 [{name}], 1;\nret;\n}}\n{}{}{}.visible",
        calls("a", "leaf"),
        calls("b", "a"),
        calls("c", "b"),
    );
    let error = Module::parse(&program("", "call c;").replacen(".visible", &functions, 1)).expect_err("2^24 calls");
    assert!(error.to_string().contains("more than 262144 instructions"), "{error}");
    // What is short enough runs, and a fault in it shows the start of the text.
    let module = Module::parse(&program("", "call a;").replacen(".visible", &functions, 1)).expect("300 calls");
    let result = module.launch("k", &LaunchConfig::linear(1, 64), &[], &mut Memory::new());
    assert!(result.is_ok(), "the same value is written: {result:?}");
    let text = program("", &format!("st.shared.u32 [{name}+1], 1;"));
    let text = text.replacen(".visible", &format!(".shared .u32 {name};\n.visible"), 1);
    let result = limited(&text, &LaunchConfig::linear(1, 1), 10);
    let Err(LaunchError::Fault(fault)) = result else { panic!("{result:?}") };
    assert_eq!(fault.instruction, format!("{}…", &format!("st.shared.u32 [{name}")[..200]));
}

/// A name was looked for under every number that its digits end in, of whatever length.
#[test]
fn long_numbers_in_names_take_no_time() {
    let name = format!("%r{}", "1".repeat(1_000_000));
    let error = Module::parse(&program("", &format!("mov.u32 {name}, 1;"))).expect_err("not declared").to_string();
    assert!(error.contains("is not declared"));
}
