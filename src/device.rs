//! Where memory and work live.

/// A kind of device. The numbers are DLPack's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum DeviceKind {
    /// Ordinary memory, the host's processors.
    #[default]
    Cpu = 1,
    /// A CUDA device.
    Cuda = 2,
}

/// One device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Device {
    /// The kind.
    pub kind: DeviceKind,
    /// The ordinal; 0 for the CPU.
    pub index: u32,
}

impl Device {
    /// The CPU.
    pub const CPU: Device = Device { kind: DeviceKind::Cpu, index: 0 };
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            DeviceKind::Cpu => f.write_str("cpu"),
            DeviceKind::Cuda => write!(f, "cuda:{}", self.index),
        }
    }
}
