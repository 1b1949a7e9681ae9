//! Parameters that are one and the same under several names.

use std::collections::BTreeMap;

use super::infer::Packer;
use super::tree::Item;

/// Groups of transformers 5, which states pairs of a name and the name it is tied to.
pub fn groups_of_pairs(pairs: &[(String, String)]) -> Vec<Vec<String>> {
    let mut sources: Vec<&str> = Vec::new();
    let mut members: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (target, source) in pairs {
        let group = members.entry(source).or_default();
        if group.is_empty() {
            sources.push(source);
        }
        group.push(target.clone());
    }
    let group = |source: &str| {
        let mut group = members.remove(source).unwrap_or_default();
        group.push(source.to_owned());
        group.sort();
        group
    };
    sources.into_iter().map(group).collect()
}

/// What must go along with an item.
#[derive(Default)]
pub(super) struct Partners {
    /// Modules or tensors that have yet to be placed.
    pub items: Vec<Item>,
    /// The size of all together.
    pub total: f64,
    /// Whether the item is tied to anything outside itself.
    pub any: bool,
}

impl Packer<'_> {
    /// The tied parameters outside of an item that lie in groups it has a share in. The comparison is
    /// that of transformers, which looks for the name anywhere in the other.
    fn tied_outside(&self, name: &str) -> Vec<&str> {
        let has = |other: &str| format!("{other}.").contains(&format!("{name}."));
        let shares = |group: &&Vec<String>| group.iter().any(|n| has(n)) && !group.iter().all(|n| has(n));
        let groups = self.model.tied.iter().filter(shares);
        groups.flatten().map(String::as_str).filter(|n| !has(n)).collect()
    }

    /// What is tied to an item, found in the work list.
    pub(super) fn partners(&self, item: Item, size: f64) -> Partners {
        let tree = &self.model.tree;
        let tied = self.tied_outside(tree.name(item));
        let mut partners = Partners { total: size, any: !tied.is_empty(), items: Vec::new() };
        for name in tied {
            let holds = |candidate: &&Item| match self.finds_by_substring() {
                // 4.41 is content with a part of the name.
                true => name.contains(tree.name(**candidate)),
                false => name.strip_prefix(tree.name(**candidate)).is_some_and(|rest| rest.starts_with('.')),
            };
            let Some(found) = self.todo.iter().find(holds).copied() else { continue };
            if self.flavour.is_v5() {
                if partners.items.contains(&found) {
                    continue;
                }
                partners.total += self.sizes.of(found);
            } else {
                partners.total += self.sizes.of(found) - self.size_by_name(name);
            }
            partners.items.push(found);
        }
        partners
    }
}
