//! A context: one device and the threads that serve it.

use std::sync::Arc;

use crate::backend::Backend;
use crate::backend::cpu::{CpuBackend, CpuConfig};
use crate::device::Device;
use crate::error::Result;

/// One device and its threads. Cloning shares them; any number of threads may use one at once.
#[derive(Clone)]
pub struct Context {
    cpu: Arc<CpuBackend>,
}

impl Context {
    /// A context on the CPU.
    pub fn cpu(config: CpuConfig) -> Result<Self> {
        Ok(Context { cpu: Arc::new(CpuBackend::new(config)?) })
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
