//! Where values come from: a flag, else an environment variable, else the configuration file, else the
//! default. An empty one is unset, and the next source is asked.

use std::ffi::OsString;
use std::path::Path;

use clap::ArgMatches;

use super::fault::{Fault, Faults};
use super::file::{ConfigFile, Place};
use super::parameter::Parameter;
use super::read::{Lookup, NotText};
use super::table::PARAMETERS;

/// What tells one value: where it was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line.
    Flag,
    /// A variable of the environment.
    Environment,
    /// A line of the configuration file.
    File(Place),
    /// Nowhere.
    Default,
}

/// What `--config` names; `None` where it is not there, or empty, which is unset.
pub fn config_file(matches: &ArgMatches) -> Option<&Path> {
    // An error here is a command that does not have this flag.
    let path = matches.try_get_one::<OsString>("config").ok().flatten();
    path.filter(|path| !path.is_empty()).map(Path::new)
}

/// The flags, the environment and the configuration file of one start.
pub(super) struct Sources<'a> {
    matches: &'a ArgMatches,
    /// The only way to the environment, so that tests need none.
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    /// What `--config` names.
    file: Option<ConfigFile>,
}

impl<'a> Sources<'a> {
    /// Those of a command line. The configuration file is read here, once.
    pub(super) fn new(
        matches: &'a ArgMatches,
        variable: &'a dyn Fn(&str) -> Option<OsString>,
    ) -> Self {
        Sources {
            matches,
            variable,
            file: config_file(matches).map(ConfigFile::read),
        }
    }

    /// What a parameter is set to, and where.
    pub(super) fn find(&self, parameter: &Parameter) -> Option<(Result<String, NotText>, Origin)> {
        // As above.
        let flag = self.matches.try_get_one::<String>(parameter.flag);
        if let Some(flag) = flag.ok().flatten().filter(|flag| !flag.is_empty()) {
            return Some((Ok(flag.clone()), Origin::Flag));
        }
        let variable = (self.variable)(parameter.env).filter(|variable| !variable.is_empty());
        if let Some(variable) = variable {
            let text = variable
                .into_string()
                .map_err(|text| NotText::not_utf8(text.to_string_lossy().into_owned()));
            return Some((text, Origin::Environment));
        }
        let entry = self.file.as_ref()?.get(parameter)?;
        Some((entry.text.clone(), Origin::File(entry.place.clone())))
    }

    /// Lets `read` look values up, and adds to its faults those of the file, and where values stand in it.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(Lookup<'_>) -> Result<T, Faults>,
    ) -> Result<T, Faults> {
        let lookup = |parameter: &Parameter| self.find(parameter).map(|(text, _)| text);
        let (read, faults) = match read(&lookup) {
            Ok(read) => (Some(read), Vec::new()),
            Err(faults) => (None, faults.0),
        };
        let faults = self.with_file(faults);
        match read {
            Some(read) if faults.is_empty() => Ok(read),
            _ => Err(Faults::in_table_order(faults)),
        }
    }

    /// Faults of values, with where these stand in the file, and the faults of the file itself.
    fn with_file(&self, mut faults: Vec<Fault>) -> Vec<Fault> {
        let Some(file) = &self.file else {
            return faults;
        };
        if !file.is_whole {
            faults.retain(|fault| !fault.is_missing());
        }
        for fault in &mut faults {
            let parameter = PARAMETERS
                .iter()
                .find(|parameter| parameter.env == fault.parameter);
            if let Some((_, Origin::File(place))) = parameter.and_then(|it| self.find(it)) {
                fault.place = Some(place);
            }
        }
        faults.extend_from_slice(&file.faults);
        faults
    }
}
