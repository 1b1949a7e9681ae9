use std::ffi::c_char;

use super::guard::{guard, write_out};
use super::sized::{Growing, write};
use super::status::fourbit_status;
use crate::backend::cpu::Isa;
use crate::device::{Device, DeviceKind};
use crate::error::{Result, err};

/// Where memory lives. The numbers are DLPack's DLDeviceType.
#[repr(i32)]
pub enum fourbit_device_kind {
    /// Ordinary memory.
    Cpu = 1,
    /// A CUDA device.
    Cuda = 2,
    /// Host memory pinned for CUDA.
    CudaHost = 3,
}

/// A device. Same layout as DLPack's DLDevice. All zero means the CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct fourbit_device {
    /// A fourbit_device_kind, or 0.
    pub kind: i32,
    /// The ordinal; 0 for the CPU.
    pub index: i32,
}

impl From<Device> for fourbit_device {
    fn from(device: Device) -> Self {
        fourbit_device { kind: device.kind as i32, index: device.index as i32 }
    }
}

impl fourbit_device {
    pub(super) fn checked(self, name: &str) -> Result<Device> {
        match (self.kind, u32::try_from(self.index)) {
            // Pinned host memory is the CPU's own to read and write.
            (0 | 1 | 3, Ok(0)) => Ok(Device::CPU),
            (2, Ok(index)) => Ok(Device { kind: DeviceKind::Cuda, index }),
            (kind, _) => {
                Err(err!(InvalidArgument, "{name}.device: no device has kind {kind}, index {}", self.index))
            }
        }
    }
}

/// Instruction sets of a CPU, as the caps that fourbit_context_config takes and the bits that
/// fourbit_cpu_features returns (bit n for number n).
#[repr(u32)]
pub enum fourbit_cpu_isa {
    /// Whatever the machine has.
    Best = 0,
    /// Plain Rust.
    Portable = 1,
    /// x86: AVX2, FMA and F16C.
    Avx2 = 2,
    /// x86: AVX-512 F, BW, DQ and VL.
    Avx512 = 3,
    /// x86: AVX-512 with bfloat16 dot products.
    Avx512Bf16 = 4,
    /// x86: AMX tiles with bfloat16.
    Amx = 5,
    /// Arm: Advanced SIMD.
    Neon = 6,
}

pub(super) fn isa_cap(number: u32) -> Result<Option<Isa>> {
    match number {
        0 => Ok(None),
        n => Isa::ALL.get(n as usize - 1).copied().map(Some).ok_or_else(|| {
            err!(InvalidArgument, "cpu_isa_max is {n}, expected a fourbit_cpu_isa (0 to {})", Isa::ALL.len())
        }),
    }
}

/// What a device is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fourbit_device_info {
    /// sizeof(fourbit_device_info), set by the caller.
    pub struct_size: u32,
    /// Processors that the process may use, or multiprocessors.
    pub processors: u32,
    /// Bytes of memory.
    pub memory_total: u64,
    /// Bytes of memory available now.
    pub memory_available: u64,
    /// A name for people; NUL-terminated.
    pub name: [c_char; 64],
}

// SAFETY: plain data without padding, `struct_size` first.
unsafe impl Growing for fourbit_device_info {
    const NAME: &'static str = "fourbit_device_info";
}

/// The number of devices of a kind (a fourbit_device_kind). No driver means 0, not an error.
///
/// # Safety
/// `out_count` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_device_count(kind: i32, out_count: *mut u32) -> fourbit_status {
    guard(|| {
        let count = match kind {
            1 => 1,
            2 => 0,
            other => return Err(err!(InvalidArgument, "kind is {other}, expected 1 (cpu) or 2 (cuda)")),
        };
        // SAFETY: this function's contract.
        unsafe { write_out(out_count, count, "out_count") }
    })
}

/// Describes a device.
///
/// # Safety
/// `out_info` is NULL or writable for the bytes its `struct_size` states.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fourbit_device_query(
    device: fourbit_device,
    out_info: *mut fourbit_device_info,
) -> fourbit_status {
    guard(|| {
        let device = device.checked("device")?;
        if device.kind != DeviceKind::Cpu {
            return Err(err!(DeviceUnavailable, "no such device: {device}"));
        }
        let (memory_total, memory_available) = host_memory();
        let mut name = [0 as c_char; 64];
        let text = format!("cpu ({})", Isa::detect().name());
        for (to, from) in name.iter_mut().zip(text.bytes().take(63)) {
            *to = from as c_char;
        }
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
        // SAFETY: this function's contract.
        unsafe {
            let info =
                fourbit_device_info { struct_size: 0, processors, memory_total, memory_available, name };
            write(out_info, info)
        }
    })
}

/// Total and available bytes, 0 where the system does not tell.
fn host_memory() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| -> u64 {
        let line = text.lines().find(|l| l.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    (field("MemTotal:"), field("MemAvailable:"))
}

/// The instruction sets in use on this machine, one bit per fourbit_cpu_isa number, after
/// FOURBIT_CPU_ISA_MAX in the environment took its part away.
#[unsafe(no_mangle)]
pub extern "C" fn fourbit_cpu_features() -> u32 {
    let cap = Isa::env_cap().ok().flatten();
    let best = Isa::detect_up_to(cap);
    Isa::ALL
        .iter()
        .enumerate()
        .filter(|(_, isa)| isa.is_supported() && **isa <= best)
        .fold(0, |bits, (i, _)| bits | 1 << (i + 1))
}
