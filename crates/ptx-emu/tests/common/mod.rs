//! Runs small programs.

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
