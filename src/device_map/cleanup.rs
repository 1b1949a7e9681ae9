//! Shortening a map: a subtree that lies on one device becomes one entry.

use super::device::MapDevice;

/// An entry with its name taken apart.
type Entry<'a> = (Vec<&'a str>, MapDevice);

/// Joins entries that share a prefix and a device, as far up as that goes. An entry alone under its
/// prefix keeps its full name.
pub(super) fn clean(entries: &[(&str, MapDevice)]) -> Vec<(String, MapDevice)> {
    let mut entries: Vec<Entry> = entries.iter().map(|(name, device)| (components(name), *device)).collect();
    entries.sort_unstable();
    let mut cleaned = Vec::new();
    // Ranges of entries whose first `depth` components are the same.
    let mut todo = vec![(0..entries.len(), 0)];
    while let Some((range, depth)) = todo.pop() {
        let group = &entries[range.clone()];
        let Some((path, device)) = group.first() else { continue };
        let below = range.start + usize::from(path.len() == depth);
        let one_device = group[below - range.start..].windows(2).all(|pair| pair[0].1 == pair[1].1);
        if range.end - below > 1 && one_device {
            cleaned.push((path[..depth].join("."), entries[below].1));
            continue;
        }
        if below > range.start {
            cleaned.push((path.join("."), *device));
        }
        let mut start = below;
        while start < range.end {
            let component = entries[start].0[depth];
            let rest = entries[start..range.end].iter();
            let end = start + rest.take_while(|(path, _)| path[depth] == component).count();
            todo.push((start..end, depth + 1));
            start = end;
        }
    }
    cleaned
}

fn components(name: &str) -> Vec<&str> {
    if name.is_empty() { Vec::new() } else { name.split('.').collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MapDevice::{Cpu, Gpu};

    fn cleaned(entries: &[(&str, MapDevice)]) -> Vec<(String, MapDevice)> {
        let mut cleaned = clean(entries);
        cleaned.sort();
        cleaned
    }

    #[test]
    fn subtrees_of_one_device_shrink() {
        let entries = [("m.e", Gpu(0)), ("m.l.0.a", Gpu(0)), ("m.l.0.b", Gpu(0)), ("m.l.1", Cpu), ("h", Cpu)];
        let expected = [("h", Cpu), ("m.e", Gpu(0)), ("m.l.0", Gpu(0)), ("m.l.1", Cpu)];
        assert_eq!(cleaned(&entries), expected.map(|(name, device)| (name.to_owned(), device)));
        assert_eq!(cleaned(&[("a.b", Cpu), ("c", Cpu)]), [(String::new(), Cpu)]);
        assert_eq!(cleaned(&[("a.b.c", Cpu)]), [("a.b.c".to_owned(), Cpu)], "alone it keeps its name");
        assert!(cleaned(&[]).is_empty());
    }

    #[test]
    fn a_prefix_within_a_component_is_none() {
        let entries = [("a.x", Cpu), ("a.y", Gpu(0)), ("a-b", Cpu), ("ab.x", Cpu)];
        assert_eq!(cleaned(&entries).len(), 4);
    }
}
