//! The CPU backend: splits jobs over threads and hands the parts to the kernels of one arm.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512bf16;
mod dequantize;
mod float_env;
// Products on other architectures are portable; only scratch memory is shared with them.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
mod gemm;
mod isa;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pool;
mod portable;
mod quantize;
mod runner;
mod scales;
pub(crate) mod stream;
mod table;

pub use isa::Isa;
pub use runner::{MAX_THREADS, ParallelFor, ParallelForFn, Runner};

use self::float_env::DefaultFloatEnv;
use self::gemm::Workspace;
use self::runner::Shared;
use self::table::KernelTable;
use super::{Backend, DequantizeJob, GemmJob, QuantizeJob};
use crate::error::Result;
use crate::log::{Level, log};
use crate::quant::BlockSize;

/// Elements per task: small enough for even work, large enough that handing out costs nothing. A
/// multiple of every block size, so parts never split a block or a byte.
const ELEMENTS_PER_TASK: u64 = 1 << 16;

/// How a CPU backend runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuConfig {
    /// Threads, the caller's included; 0 means as many as the process may use.
    pub threads: usize,
    /// Use no newer instruction set; the environment's `FOURBIT_CPU_ISA_MAX` may lower it further.
    pub isa_max: Option<Isa>,
    /// Run parallel loops on the caller's threads instead of own ones.
    pub parallel_for: Option<ParallelFor>,
}

/// The CPU: threads and the kernels of one instruction set.
///
/// Results do not depend on the number of threads. Methods may be called from several threads at
/// once; the pool serves one of them and the others work alone meanwhile. Dropping the backend
/// joins its threads, which must happen before the library is unloaded. A forked child may go on
/// using an idle backend: it has no threads there, and work runs on the caller's.
pub struct CpuBackend {
    runner: Runner,
    table: &'static KernelTable,
    workspace: Workspace,
}

impl CpuBackend {
    /// Starts the threads and picks the kernels.
    pub fn new(config: CpuConfig) -> Result<Self> {
        let cap = match (config.isa_max, Isa::env_cap()?) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let table = KernelTable::of(Isa::detect_up_to(cap));
        let runner = Runner::new(config.threads, config.parallel_for)?;
        log(Level::Info, || {
            let whose = if config.parallel_for.is_some() { " of the caller's" } else { "" };
            format!("CPU context: instruction set {}, {} threads{whose}", table.isa, runner.threads())
        });
        Ok(CpuBackend { runner, table, workspace: Workspace::new() })
    }

    /// How many threads take part in an operation.
    pub fn threads(&self) -> usize {
        self.runner.threads()
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.table.isa
    }

    /// Runs parallel loops of the operations above the backend.
    pub fn runner(&self) -> &Runner {
        &self.runner
    }

    /// [`Backend::quantize`] on the calling thread alone, for callers that are parallel themselves.
    ///
    /// # Safety
    /// As [`Backend`] says.
    pub unsafe fn quantize_serial(&self, job: &QuantizeJob) {
        let _env = DefaultFloatEnv::set();
        // SAFETY: passed on; the table's arm was detected.
        unsafe { (self.table.quantize)(job) }
    }

    /// [`Backend::dequantize`] on the calling thread alone.
    ///
    /// # Safety
    /// As [`Backend`] says.
    pub unsafe fn dequantize_serial(&self, job: &DequantizeJob) {
        let _env = DefaultFloatEnv::set();
        let blocks = job.numel.div_ceil(job.weight.block_size.get() as u64);
        // SAFETY: passed on; the table's arm was detected.
        unsafe { (self.table.dequantize)(job, 0, blocks) }
    }
}

/// Number of tasks and blocks per task.
fn split(numel: u64, block_size: BlockSize) -> (usize, u64) {
    (numel.div_ceil(ELEMENTS_PER_TASK) as usize, ELEMENTS_PER_TASK >> block_size.shift())
}

impl Backend for CpuBackend {
    unsafe fn quantize(&self, job: &QuantizeJob) -> Result<()> {
        let (tasks, _) = split(job.numel, job.block_size);
        // SAFETY: the parts write disjoint bytes, since a part's elements are a multiple of two.
        let shared = unsafe { Shared::new(*job) };
        self.runner.run(tasks, &|i| {
            let job = shared.get();
            let first = i as u64 * ELEMENTS_PER_TASK;
            let numel = ELEMENTS_PER_TASK.min(job.numel - first);
            // SAFETY: the caller's contract; the part lies inside the job.
            unsafe { (self.table.quantize)(&quantize::part(job, first as usize, numel as usize)) }
        });
        Ok(())
    }

    unsafe fn dequantize(&self, job: &DequantizeJob) -> Result<()> {
        let (tasks, blocks) = split(job.numel, job.weight.block_size);
        // SAFETY: the parts write disjoint elements.
        let shared = unsafe { Shared::new(*job) };
        self.runner.run(tasks, &|i| {
            let first = i as u64 * blocks;
            let all = job_blocks(shared.get());
            // SAFETY: the caller's contract; the blocks lie inside the job.
            unsafe { (self.table.dequantize)(shared.get(), first, blocks.min(all - first)) }
        });
        Ok(())
    }

    unsafe fn gemm(&self, job: &GemmJob) -> Result<()> {
        // SAFETY: passed on.
        unsafe { self.grouped_gemm(std::slice::from_ref(job)) }
    }

    unsafe fn grouped_gemm(&self, jobs: &[GemmJob]) -> Result<()> {
        // SAFETY: passed on; the table's arm was detected.
        unsafe { (self.table.gemm)(jobs, &self.runner, &self.workspace) }
    }
}

fn job_blocks(job: &DequantizeJob) -> u64 {
    job.numel.div_ceil(job.weight.block_size.get() as u64)
}
