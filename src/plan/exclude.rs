//! The library's own module patterns: runs of whole components, with `*` inside a component.

use super::names::module_of;

/// A list of patterns as the caller gave them.
#[derive(Debug, Default)]
pub struct ModulePatterns {
    patterns: Vec<(String, Vec<String>)>,
}

impl ModulePatterns {
    /// Takes the patterns; a trailing `.weight` is ignored.
    pub fn new(patterns: &[String]) -> Self {
        let split = |p: &String| (p.clone(), module_of(p).split('.').map(str::to_owned).collect());
        ModulePatterns { patterns: patterns.iter().map(split).collect() }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The first pattern that names one of these paths of a module.
    pub fn hit(&self, paths: &[String]) -> Option<&str> {
        let paths: Vec<Vec<&str>> = paths.iter().map(|p| p.split('.').collect()).collect();
        let names = |pattern: &[String]| paths.iter().any(|path| contains_run(path, pattern));
        self.patterns.iter().find(|(_, parts)| names(parts)).map(|(text, _)| text.as_str())
    }

    /// Patterns that name none of these modules.
    pub fn idle<'a>(&'a self, modules: &[Vec<String>]) -> Vec<&'a str> {
        let idle = |parts: &[String]| {
            !modules.iter().flatten().any(|p| contains_run(&p.split('.').collect::<Vec<_>>(), parts))
        };
        self.patterns.iter().filter(|(_, parts)| idle(parts)).map(|(text, _)| text.as_str()).collect()
    }
}

fn contains_run(path: &[&str], run: &[String]) -> bool {
    path.len() >= run.len()
        && path.windows(run.len()).any(|part| part.iter().zip(run).all(|(text, pattern)| glob(pattern, text)))
}

/// Whether `*`s of `pattern` can be filled so that it becomes `text`.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_components() {
        let cases = [
            ("lm_head", "lm_head", true),
            ("head", "lm_head", false),
            ("mlp", "model.layers.0.mlp.up_proj", true),
            ("self_attn.q_proj", "model.layers.0.self_attn.q_proj", true),
            ("attn.q_proj", "model.layers.0.self_attn.q_proj", false),
            ("model.layers.1", "model.layers.10.mlp", false),
            ("model.layers.*.mlp", "model.layers.10.mlp.up_proj", true),
            ("*_proj", "model.layers.10.mlp.up_proj", true),
            ("g*_pr*j", "mlp.gate_proj", true),
            ("g*_pr*x", "mlp.gate_proj", false),
            ("a*a", "a", false),
            ("lm_head.weight", "lm_head", true),
            ("layers", "", false),
        ];
        for (pattern, path, expected) in cases {
            let hit = ModulePatterns::new(&[pattern.to_owned()]).hit(&[path.to_owned()]).is_some();
            assert_eq!(hit, expected, "{pattern} on {path}");
        }
    }
}
