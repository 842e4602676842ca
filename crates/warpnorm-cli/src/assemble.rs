//! `warpnorm assemble`: what ptxas makes of every kernel, for every chip that runs it.

use crate::cli::AssembleArguments;
use crate::error::ToolError;
use crate::ptxas::{Assembled, Functions, Ptxas};
use crate::report::{self, Fields, Outcome, align_right, table};
use warpnorm::plan::Module;
use warpnorm::ptx::{self, EmbeddedModule};

/// One of every generation that the shipped PTX runs on, and those within a generation that differ in
/// what a multiprocessor has.
const CHIPS: [(u32, u32); 7] = [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)];

/// A module, and the chip that it is assembled for.
type Work = (&'static EmbeddedModule, (u32, u32));

/// Runs the command.
pub fn run(arguments: &AssembleArguments) -> Result<Outcome, ToolError> {
    let ptxas = Ptxas::find(arguments.ptxas.as_deref())?.ok_or(ToolError::NoPtxas)?;
    let work = work();
    let assembled: Vec<(Work, Functions)> = work.iter().copied().zip(ptxas.assemble(&work)?).collect();
    let mut fields = Fields::default();
    fields.add("PTX", report::ptx());
    fields.add("ptxas", ptxas.version);
    let table = if arguments.all { kernels_table(&assembled) } else { modules_table(&assembled) };
    let faults = faults(&assembled);
    let kernels: usize = work.iter().map(|(module, _)| module.kernels().len()).sum();
    let result = match faults.len() {
        0 => format!("{} modules × chips, {kernels} kernels, all in registers", work.len()),
        count => format!("{} modules × chips, {kernels} kernels, {count} in local memory:", work.len()),
    };
    report::print(&format!("{fields}\n{table}\n\n{result}\n{}", faults.concat()))?;
    Ok(if faults.is_empty() { Outcome::Passed } else { Outcome::Failed })
}

/// What each chip runs of this build; nothing, where the build has no PTX for the chip.
fn work() -> Vec<Work> {
    let for_chips =
        |module| CHIPS.into_iter().filter_map(move |chip| Some((ptx::select(module, chip, None).ok()?, chip)));
    Module::all().flat_map(for_chips).collect()
}

fn chip((major, minor): (u32, u32)) -> String {
    format!("sm_{major}{minor}")
}

/// The four numbers of a kernel, or the largest of several kernels'.
fn numbers<'a>(functions: impl Iterator<Item = &'a Assembled> + Clone) -> [String; 4] {
    let most = |what: fn(&Assembled) -> u32| functions.clone().map(what).max().unwrap_or(0).to_string();
    [
        most(|function| function.registers),
        most(|function| function.static_shared_bytes),
        most(|function| function.stack_bytes),
        most(|function| function.spill_bytes),
    ]
}

fn modules_table(assembled: &[(Work, Functions)]) -> String {
    let mut table = table(&["module", "chip", "kernels", "registers", "static shared", "stack", "spilled"]);
    for ((module, capability), functions) in assembled {
        let names = [module.to_string(), chip(*capability), module.kernels().len().to_string()];
        table.add_row(names.into_iter().chain(numbers(functions.values())));
    }
    align_right(&mut table, &[2, 3, 4, 5, 6]);
    table.to_string()
}

fn kernels_table(assembled: &[(Work, Functions)]) -> String {
    let mut table = table(&["kernel", "chip", "registers", "static shared", "stack", "spilled"]);
    for ((_, capability), functions) in assembled {
        for (name, function) in functions {
            let names = [name.clone(), chip(*capability)];
            table.add_row(names.into_iter().chain(numbers([function].into_iter())));
        }
    }
    align_right(&mut table, &[2, 3, 4, 5]);
    table.to_string()
}

/// A line for every function that uses local memory.
fn faults(assembled: &[(Work, Functions)]) -> Vec<String> {
    let mut faults = Vec::new();
    for ((module, capability), functions) in assembled {
        for (name, function) in functions.iter().filter(|(_, function)| function.leaves_registers()) {
            faults.push(format!(
                "{} on {}: {name}: {} bytes of stack, {} bytes spilled\n",
                module,
                chip(*capability),
                function.stack_bytes,
                function.spill_bytes,
            ));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_memory_of_any_kind_is_a_fault() {
        let work = work()[0];
        let function = |stack_bytes, spill_bytes| {
            let assembled = Assembled { registers: 64, stack_bytes, spill_bytes, static_shared_bytes: 0 };
            faults(&[(work, Functions::from([("name".to_owned(), assembled)]))])
        };
        assert_eq!(function(0, 0), [""; 0]);
        for (stack, spill) in [(8, 0), (0, 4)] {
            let lines = function(stack, spill);
            let wanted = format!("name: {stack} bytes of stack, {spill} bytes spilled");
            assert!(lines.len() == 1 && lines[0].contains(&wanted), "{lines:?}");
        }
    }

    #[test]
    fn every_module_of_the_build_is_assembled() {
        let work = work();
        assert!(ptx::modules().iter().all(|module| work.iter().any(|(there, _)| std::ptr::eq(*there, module))));
    }
}
