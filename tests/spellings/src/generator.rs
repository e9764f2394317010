//! Odd spellings of paths; a seed always gives the same ones.

/// An endless sequence of request targets. Each leads to one of the wanted segments by a detour that some servers undo
/// and others do not.
#[derive(Clone, Debug)]
pub struct Spellings {
    state: u64,
    goals: Vec<String>,
}

/// What may take the place of a slash.
const SLASHES: [&str; 17] = [
    "//", "/./", "/%2e/", "%2f", "%2F", "\\", "%5c", "/.;/", ";/", ";a=b/", ";%2f/", "@/", "#/", "%23/",
    "%3f/", "%252f", "%252F",
];

/// What may lead out of a segment again.
const CLIMBS: [&str; 15] = [
    "%2e%2e",
    "%2E.",
    ".%2e",
    "..;",
    "..;a=b",
    "..;/..",
    "..%3b",
    "..%2f..",
    "..@",
    "..#",
    ".",
    "...",
    "%252e%252e",
    "..%00",
    "",
];

/// What a segment may end with and still be one to a server that decodes no slashes.
const TAILS: [&str; 14] =
    ["%2f", "%2F", "%5c", "..", "%2e%2e", ".", ";", "#", "%23", "%3f", "%3b", "%252f", "@", "x"];

/// What may follow the last segment.
const ENDS: [&str; 14] = [
    "/",
    "/.",
    "//",
    ";",
    ";v=1",
    ";/x",
    "%3bv",
    "#",
    "#/../x",
    "?a=/../health",
    "%2f",
    "%20",
    "/x/..",
    "%23/..",
];

impl Spellings {
    /// The sequence of a seed, with ways to these segments.
    #[must_use]
    pub fn new(seed: u64, goals: &[&str]) -> Self {
        Self { state: seed, goals: goals.iter().map(ToString::to_string).collect() }
    }

    /// Random numbers: SplitMix64.
    fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.number().checked_rem(end).unwrap_or_default()
    }

    fn one_of<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        let index = self.below(texts.len() as u64);
        usize::try_from(index).ok().and_then(|index| texts.get(index)).copied().unwrap_or_default()
    }

    /// `usual` half of the time, else one of the others.
    fn or_one_of<'a>(&mut self, usual: &'a str, others: &[&'a str]) -> &'a str {
        if self.below(2) == 0 { usual } else { self.one_of(others) }
    }

    /// One of the goals, now and then with a letter or two in another encoding.
    fn segment(&mut self) -> String {
        let goals = std::mem::take(&mut self.goals);
        let goal = self.one_of(&goals.iter().map(String::as_str).collect::<Vec<_>>()).to_owned();
        self.goals = goals;
        let spelled = goal.chars().map(|letter| match self.below(40) {
            0 => format!("%{:02x}", u32::from(letter)),
            1 => format!("%{:02X}", u32::from(letter)),
            _ => letter.to_string(),
        });
        spelled.collect()
    }

    /// A way into some segment and out of it again, for a server that decodes slashes or for one that does not.
    fn detour(&mut self) -> String {
        if self.below(2) == 0 {
            let (before, segment) = (self.or_one_of("/", &SLASHES), self.segment());
            let (after, climb) = (self.or_one_of("/", &SLASHES), self.or_one_of("..", &CLIMBS));
            return [before, &segment, after, climb].concat();
        }
        let tails = self.below(4).wrapping_add(1);
        let tail: String = (0..tails).map(|_| self.one_of(&TAILS)).collect();
        ["/", &self.segment(), &tail, "/.."].concat()
    }
}

impl Iterator for Spellings {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let detours = self.below(3);
        let mut target: String = (0..detours).map(|_| self.detour()).collect();
        target += self.or_one_of("/", &SLASHES);
        target += &self.segment();
        target += self.or_one_of("", &ENDS);
        // A request target starts with a slash.
        if !target.starts_with('/') {
            target.insert(0, '/');
        }
        Some(target)
    }
}
