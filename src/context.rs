//! A context: one device and the threads that serve it.

use std::sync::Arc;

use crate::backend::Backend;
use crate::backend::cpu::{CpuBackend, CpuConfig, Isa};
use crate::device::Device;
use crate::error::Result;
use crate::log::{Level, Limit, log};

/// One device and its threads. Cloning shares them; any number of threads may use one at once.
#[derive(Clone)]
pub struct Context {
    cpu: Arc<CpuBackend>,
}

impl Context {
    /// A context on the CPU.
    pub fn cpu(config: CpuConfig) -> Result<Self> {
        let loops = match (config.parallel_for.is_some(), config.threads) {
            (true, _) => "the caller's loop",
            (false, 1) => "none but the calling one",
            (false, _) => "threads of its own",
        };
        let cpu = CpuBackend::new(config)?;
        report(&cpu, loops);
        Ok(Context { cpu: Arc::new(cpu) })
    }

    /// The device.
    pub fn device(&self) -> Device {
        Device::CPU
    }

    /// The number of threads that work on a call, the caller's included.
    pub fn threads(&self) -> usize {
        self.cpu.threads()
    }

    /// The device's operations.
    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.cpu
    }

    /// The host side: for work that is the host's wherever the device is.
    pub(crate) fn host(&self) -> &CpuBackend {
        &self.cpu
    }
}

/// Tells the log what was chosen. A program may make a context per request.
fn report(cpu: &CpuBackend, loops: &str) {
    static CREATED: Limit = Limit::new(64);
    CREATED.log(Level::Info, || {
        let (used, best) = (cpu.isa(), Isa::detect());
        let capped = if used == best { String::new() } else { format!(" (the machine has {})", best.name()) };
        format!("context on the CPU: kernels {}{capped}, {} threads: {loops}", used.name(), cpu.threads())
    });
    let processors = std::thread::available_parallelism().map_or(usize::MAX, |n| n.get());
    if cpu.threads() > processors {
        log(Level::Warning, || {
            format!(
                "context on the CPU: {} threads for {processors} processors wait for one another",
                cpu.threads()
            )
        });
    }
    if used_portable_only(cpu.isa()) {
        log(Level::Warning, || {
            format!("no vector kernels for this {} processor: portable ones are used", std::env::consts::ARCH)
        });
    }
}

/// Whether nothing better than portable code was found, though nobody asked for that.
fn used_portable_only(used: Isa) -> bool {
    used == Isa::Portable && Isa::detect() == Isa::Portable
}
