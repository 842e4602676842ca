//! Runs single instructions on many values, and small programs.

use ptx_emu::{LaunchConfig, LaunchError, LaunchReport, Memory, Module};

/// A module of one kernel `k`: parameters and body are given, registers of every kind declared.
pub fn program(parameters: &str, body: &str) -> String {
    format!(
        ".version 8.2\n.target sm_90\n.address_size 64\n.visible .entry k({parameters})\n{{\n\
         .reg .pred %p<8>;\n.reg .b16 %h<8>;\n.reg .b32 %r<24>;\n.reg .f32 %f<8>;\n\
         .reg .b64 %rd<16>;\n.reg .f64 %fd<8>;\n{body}\nret;\n}}\n"
    )
}

/// Launches `k` of a text made by [`program`].
pub fn launch(
    text: &str,
    config: &LaunchConfig,
    args: &[&[u8]],
    memory: &mut Memory,
) -> Result<LaunchReport, LaunchError> {
    let module = Module::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    module.launch("k", config, args, memory)
}

/// Runs `body` once per row of `inputs`, in a thread each. The row's values are in `%rd0`, `%rd1`…
/// and, truncated, in `%r0`… and `%h0`…; the result is what the body leaves in `%rd15`.
pub fn evaluate<const N: usize>(body: &str, inputs: &[[u64; N]]) -> Vec<u64> {
    let mut text = String::from(
        "ld.param.u64 %rd10, [in];\nld.param.u64 %rd11, [out];\nmov.u32 %r20, %ctaid.x;\n\
         mov.u32 %r21, %ntid.x;\nmov.u32 %r22, %tid.x;\nmad.lo.u32 %r20, %r20, %r21, %r22;\n",
    );
    text += &format!("mul.wide.u32 %rd12, %r20, {};\nadd.u64 %rd10, %rd10, %rd12;\n", 8 * N);
    text += "mul.wide.u32 %rd12, %r20, 8;\nadd.u64 %rd11, %rd11, %rd12;\n";
    for i in 0..N {
        text += &format!("ld.global.u64 %rd{i}, [%rd10+{}];\n", 8 * i);
        text += &format!("cvt.u32.u64 %r{i}, %rd{i};\ncvt.u16.u64 %h{i}, %rd{i};\n");
    }
    text += body;
    text += "\nst.global.u64 [%rd11], %rd15;\n";
    let text = program(".param .u64 in, .param .u64 out", &text);
    // 40 threads: a full warp, and one with lanes missing.
    let threads = 40;
    let ctas = inputs.len().div_ceil(threads);
    let mut memory = Memory::new();
    let input = memory.allocate("in", ctas * threads * N * 8);
    let output = memory.allocate("out", ctas * threads * 8);
    let mut data: Vec<u8> = inputs.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    data.resize(ctas * threads * N * 8, 0);
    memory.write(input, &data).expect("fits");
    let args: [&[u8]; 2] = [&input.to_le_bytes(), &output.to_le_bytes()];
    let config = LaunchConfig::linear(ctas as u32, threads as u32);
    launch(&text, &config, &args, &mut memory).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut data = vec![0; inputs.len() * 8];
    memory.read(output, &mut data).expect("inside");
    data.chunks_exact(8).map(|chunk| u64::from_le_bytes(chunk.try_into().expect("8 bytes"))).collect()
}
