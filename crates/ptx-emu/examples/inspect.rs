//! Parses PTX files and lists their kernels, or says what is not understood.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut failed = false;
    for path in std::env::args().skip(1) {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("{path}: {error}");
                failed = true;
                continue;
            }
        };
        match ptx_emu::Module::parse(&text) {
            Err(error) => {
                eprintln!("{path}: {error}");
                failed = true;
            }
            Ok(module) => {
                let (major, minor) = module.isa();
                println!("{path}: ISA {major}.{minor}, {}", module.target());
                for kernel in module.kernels().filter_map(|name| module.kernel(name)) {
                    println!(
                        "  {}: {} instructions, {} bytes of parameters, {} shared, {} local",
                        kernel.name(),
                        kernel.instruction_count(),
                        kernel.parameter_sizes().sum::<usize>(),
                        kernel.static_shared_bytes(),
                        kernel.local_bytes(),
                    );
                }
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
