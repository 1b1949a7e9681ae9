//! Buffers between inaccessible pages: one byte read or written outside ends the test.

/// Which end of the buffer touches an inaccessible page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The first byte.
    Start,
    /// The last byte.
    End,
}

/// Bytes at one edge of their pages.
pub struct Guarded {
    map: *mut libc::c_void,
    map_len: usize,
    data: *mut u8,
    len: usize,
}

impl Guarded {
    /// A copy of `bytes`.
    pub fn new(bytes: &[u8], edge: Edge) -> Self {
        // SAFETY: a query without arguments of ours.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let inner = bytes.len().next_multiple_of(page);
        let map_len = inner + 2 * page;
        let (none, both) = (libc::PROT_NONE, libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: a new private mapping; access to all but its first and last page; the copy fits.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let map = libc::mmap(std::ptr::null_mut(), map_len, none, flags, -1, 0);
            assert_ne!(map, libc::MAP_FAILED);
            let first = map.cast::<u8>().add(page);
            assert!(inner == 0 || libc::mprotect(first.cast(), inner, both) == 0);
            let data = if edge == Edge::Start { first } else { first.add(inner - bytes.len()) };
            data.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            Guarded { map, map_len, data, len: bytes.len() }
        }
    }

    /// The values' bytes.
    pub fn of_f32(values: &[f32], edge: Edge) -> Self {
        Self::new(&values.iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<u8>>(), edge)
    }

    /// The first byte.
    pub fn ptr(&self) -> *mut u8 {
        self.data
    }

    /// The contents.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: mapped readable for as long as `self` lives.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`.
        unsafe { libc::munmap(self.map, self.map_len) };
    }
}
