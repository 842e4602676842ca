//! Transformer blocks whose every norm, residual add, rotation of normalised heads and activation is a fused op of
//! this crate: on the GPU with cuBLAS between them, where there is one.
//!
//! ```sh
//! cargo run --release -p warpnorm --example blocks                      # the GPU, else the CPU reference
//! cargo run --release -p warpnorm --example blocks --features emulator  # else the kernels, in the executor
//! ```
//!
//! Each chain is two layers with random parameters, or the recorded blocks of a real network:
//!
//! | chain | after |
//! |---|---|
//! | pre-norm | Hugging Face `modeling_llama.py`, `modeling_qwen3.py`; Touvron et al., *LLaMA* (2023) |
//! | post-norm | Vaswani et al., *Attention Is All You Need* (2017); `modeling_bert.py`; MiniLM's recording |
//! | DeepNorm | Wang et al., *DeepNet: Scaling Transformers to 1,000 Layers* (2022) |
//! | sandwich | *Gemma 2* (2024); `modeling_gemma2.py` |
//! | nGPT | Loshchilov et al., *nGPT* (2024); `model.py` of the repository `ngpt` |
//!
//! It prints, for each chain and type, the row ops that it launched, in their order, and how far its result is from
//! that of the same chain in f32 on the CPU reference: what the type costs, parameters rounded to it included.
//! `tests/blocks` holds the chains against the networks' formulas, computed apart from this crate.
//!
//! Tensors are on the host between two steps, so that one chain serves every device. A server keeps them on the GPU
//! and calls `warpnorm::cuda` on views of them: the same ops in the same order.

mod chains;
#[cfg(feature = "cuda")]
mod cublas;

use chains::gemma2::Gemma2;
use chains::machine::MatMul;
use chains::minilm::{MiniLm, Recorded};
use chains::n_gpt::NGpt;
use chains::post_norm::PostNorm;
use chains::qwen3::Qwen3;
use chains::{Chain, CpuMatMul, Machine, Result, Tensor};
use std::cell::RefCell;
use warpnorm::DType;
use warpnorm::host::{BatchOutput, BatchProblem, Device, Output, Placement, Problem};
use warpnorm::plan::Module;
use warpnorm::reference::Cpu;

fn main() -> Result<()> {
    let (device, matmul) = devices();
    println!("row ops    {}", device.name());
    println!("matmuls    {}", matmul.name());
    let recorded = MiniLm::load()?;
    let wanted = chains_of(DType::F32, &recorded)
        .iter()
        .map(|chain| chain.forward(&Machine { device: &Cpu, matmul: &CpuMatMul }))
        .collect::<Result<Vec<Tensor>>>()?;
    let mut launches = vec![String::new(); wanted.len()];
    let mut errors = vec![Vec::new(); wanted.len()];
    for dtype in DType::ALL {
        for (index, chain) in chains_of(dtype, &recorded).iter().enumerate() {
            let counted = Counted { device: &*device, modules: RefCell::default() };
            let y = chain.forward(&Machine { device: &counted, matmul: &*matmul })?;
            errors[index].push(relative_l2(&y.values(), &wanted[index].values()));
            launches[index] = runs(&counted.modules.into_inner());
        }
    }
    println!("\nrelative L2 distance to f32 on the CPU reference, by activation type");
    println!("{:42} {:>9} {:>9} {:>9}", "chain", "f32", "f16", "bf16");
    let chains = chains_of(DType::F32, &recorded);
    for (chain, errors) in chains.iter().zip(&errors) {
        println!("{:42} {:9.1e} {:9.1e} {:9.1e}", chain.name(), errors[0], errors[1], errors[2]);
    }
    let machine = Machine { device: &*device, matmul: &*matmul };
    if let Some(last) = recorded.norms.last() {
        let y = Recorded::new(DType::F32, &recorded).forward(&machine)?;
        println!("MiniLM's output in f32 is {:.1e} from the recorded one, in f64", relative_l2(&y.values(), &last.y));
    }
    println!("\nrow ops in the order of their launches");
    for (chain, launches) in chains.iter().zip(&launches) {
        println!("{}\n    {launches}", chain.name());
    }
    Ok(())
}

fn chains_of(dtype: DType, recorded: &MiniLm) -> [Box<dyn Chain>; 6] {
    [
        Box::new(Qwen3::new(dtype)),
        Box::new(PostNorm::bert(dtype, recorded)),
        Box::new(Recorded::new(dtype, recorded)),
        Box::new(PostNorm::deep_norm(dtype)),
        Box::new(Gemma2::new(dtype)),
        Box::new(NGpt::new(dtype)),
    ]
}

/// The first GPU and cuBLAS; where there is none, says so and returns the executor or the CPU reference.
fn devices() -> (Box<dyn Device>, Box<dyn MatMul>) {
    #[cfg(feature = "cuda")]
    match warpnorm::cuda::Cuda::new(0) {
        Ok(cuda) => {
            let matmul: Box<dyn MatMul> = match cublas::CuBlas::new(cuda.stream()) {
                Ok(cublas) => Box::new(cublas),
                Err(error) => {
                    println!("no cuBLAS: {error}");
                    Box::new(CpuMatMul)
                }
            };
            return (Box::new(cuda), matmul);
        }
        Err(error) => println!("no GPU: {error}"),
    }
    #[cfg(feature = "emulator")]
    let device = Box::new(warpnorm::emulated::Emulated::new(warpnorm::DeviceFacts::h200()));
    #[cfg(not(feature = "emulator"))]
    let device = Box::new(Cpu);
    (device, Box::new(CpuMatMul))
}

/// A device that keeps account of what it runs.
struct Counted<'a> {
    device: &'a dyn Device,
    modules: RefCell<Vec<Module>>,
}

impl Device for Counted<'_> {
    fn name(&self) -> String {
        self.device.name()
    }

    fn run(&self, problem: &Problem<'_>, placement: Placement) -> std::result::Result<Output, warpnorm::Error> {
        self.modules.borrow_mut().push(Module::of(&problem.norm, problem.dtype));
        self.device.run(problem, placement)
    }

    fn run_batch(
        &self,
        problem: &BatchProblem<'_>,
        placement: Placement,
    ) -> std::result::Result<BatchOutput, warpnorm::Error> {
        self.device.run_batch(problem, placement)
    }
}

/// The names of the modules, those of one name in a row once.
fn runs(modules: &[Module]) -> String {
    let runs = modules.chunk_by(|one, next| one == next).map(|run| {
        let name = run[0].name().unwrap_or("none of this build");
        if run.len() == 1 { name.to_owned() } else { format!("{} × {name}", run.len()) }
    });
    format!("{}: {}", modules.len(), runs.collect::<Vec<String>>().join(", "))
}

fn relative_l2(got: &[f64], wanted: &[f64]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let difference = square(&mut got.iter().zip(wanted).map(|(got, wanted)| got - wanted));
    (difference / square(&mut wanted.iter().copied())).sqrt()
}
