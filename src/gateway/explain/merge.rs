//! What a merge would ask for a request, and what it would make of the answers, in words.
//!
//! Like the rest of `explain` it asks the plan that serves requests and never tells another story.

use crate::aggregate::cache::{CacheRule, Lifetime};
use crate::aggregate::{OnPartial, Part, Plan, View, request};
use crate::exchange::Exchange;
use crate::exchange::template::PartValues;
use crate::gateway::explain::{Told, shown};
use crate::gateway::route::Route;
use crate::gateway::view::Merge;

impl Told<'_> {
    pub(super) fn merge(&mut self, route: &Route, merge: &Merge, x: &Exchange) {
        let (plan, chosen) = (&merge.plan, x.view.as_ref().map(|view| usize::from(view.index)));
        let view = merge.view(chosen);
        let count = plan.parts.len();
        if plan.waiting().is_empty() {
            self.line(format_args!("\nmerges {count} parts, asked at the same time"));
        } else {
            self.line(format_args!(
                "\nmerges {count} parts, each asked as soon as what it needs is here"
            ));
        }
        self.views(merge, chosen);
        if plan.stream {
            self.streamed(plan, view);
        }
        if view.on_partial == OnPartial::Fail {
            self.line(format_args!("  an optional part that fails makes the answer a 502"));
        }
        for (index, part) in plan.parts.iter().enumerate() {
            if !view.asked().contains(index) {
                self.line(format_args!("  `{}`", part.name));
                self.line(format_args!("    not called: nothing of it is kept"));
                continue;
            }
            self.part(route, plan, part, x);
            if plan.embedded().contains(index) {
                continue;
            }
            if !view.shown().contains(index) {
                let needed = |other: &usize| plan.parts[*other].needs().contains(index);
                let by: Vec<String> = view
                    .asked()
                    .iter()
                    .filter(needed)
                    .map(|other| format!("`{}`", plan.parts[other].name))
                    .collect();
                let by = by.join(" and ");
                self.line(format_args!("    not in the answer: called because of {by}"));
            } else if view.kept(index).is_some() {
                self.line(format_args!("    the view keeps some of it"));
            }
        }
    }

    /// When the head of a streamed answer goes out.
    fn streamed(&mut self, plan: &Plan, view: &View) {
        let required = view.asked().iter().filter(|index| view.is_required(plan, *index));
        let required: Vec<String> =
            required.map(|index| format!("`{}`", plan.parts[index].name)).collect();
        match required.as_slice() {
            [] => self.line(format_args!("  streamed: the head goes out at once")),
            required => self.line(format_args!(
                "  streamed: the head goes out when {} answered well",
                match required {
                    [one] => format!("{one} has"),
                    several => format!("{} have", several.join(" and ")),
                }
            )),
        }
        self.line(format_args!("  then each part when all before it are here"));
        self.line(format_args!("  lines or events, part by part, if `accept` names them"));
    }

    /// Which views there are, and which one this request gets.
    fn views(&mut self, merge: &Merge, chosen: Option<usize>) {
        if merge.views.is_empty() {
            return;
        }
        for (index, client) in merge.views.iter().enumerate() {
            let name = &client.name;
            match chosen {
                Some(chosen) if chosen == index => {
                    self.line(format_args!("  view `{name}` fits: this client gets what it keeps"));
                }
                Some(chosen) if chosen < index => {
                    self.line(format_args!(
                        "  view `{name}` is not looked at: an earlier one fits"
                    ));
                }
                _ => self.line(format_args!("  view `{name}` does not fit")),
            }
        }
        if chosen.is_none() {
            self.line(format_args!("  no view fits: this client gets the whole answer"));
        }
    }

    fn part(&mut self, route: &Route, plan: &Plan, part: &Part, x: &Exchange) {
        self.line(format_args!("  `{}`", part.name));
        let needs: Vec<String> =
            part.needs().iter().map(|need| format!("`{}`", plan.parts[need].name)).collect();
        if !needs.is_empty() {
            self.line(format_args!("    waits for {}", needs.join(" and ")));
        }
        if let Some(each) = &part.each {
            let of = &plan.parts[each.of.part].name;
            let (most, at_once) = (each.elements_max, each.at_once);
            match each.size() {
                1 => self.line(format_args!(
                    "    called once for each distinct element of `{of}`, at most {most}, {at_once} at once"
                )),
                size => self.line(format_args!(
                    "    called for the distinct elements of `{of}`, at most {most}, {size} in one call, {at_once} calls at once"
                )),
            }
        }
        if let Some((of, into)) =
            part.each.as_ref().and_then(|each| Some((each.of.part, each.into.as_ref()?)))
        {
            let (of, into) = (&plan.parts[of].name, into.shown());
            self.line(format_args!("    its answers stand in `{of}`, as `{into}`"));
        }
        let upstream = self.gateway.upstream(part.upstream);
        self.upstream(upstream, route);
        self.line(format_args!("    timeout {}", shown(part.timeout)));
        match &part.otherwise {
            Some(text) => {
                let text = String::from_utf8_lossy(text);
                self.line(format_args!("    optional: if it fails, {text} stands in"));
            }
            None => self.line(format_args!("    required: if it fails, so does the answer")),
        }
        if let Some(rule) = &part.cache {
            self.cache(rule);
        }
        if let Some(percent) = part.hedge_percent {
            self.hedge(percent);
        }
        let left = part.timeout.min(route.timeout);
        let host = upstream.endpoints.first().map_or("", |endpoint| &*endpoint.host).as_bytes();
        let (parts, client_body_bytes) = (PartValues::Named, 0);
        let envelope = request::Envelope { host, left, added: b"", parts, client_body_bytes };
        let mut out = Vec::new();
        match request::write(plan, part, x, &envelope, &mut out) {
            Ok(()) => self.sent(&out),
            Err(error) => self.refused(&part.target, error),
        }
        if part.client_body {
            self.line(format_args!("    > (and the client's body, with its length)"));
        }
    }

    pub(super) fn hedge(&mut self, percent: u32) {
        self.line(format_args!(
            "    late (slower than 95 of 100 lately): sent once more, in at most {percent}% of calls"
        ));
    }

    fn cache(&mut self, rule: &CacheRule) {
        match rule.fresh {
            Some(Lifetime::Origin) => {
                self.line(format_args!("    its answers are used again as long as they say"));
            }
            Some(Lifetime::Set { ttl, stale_while_revalidate, stale_if_error }) => {
                self.line(format_args!(
                    "    its answers are used again for {}, {} more while a new one is fetched, {} more if that fails",
                    shown(ttl), shown(stale_while_revalidate), shown(stale_if_error)
                ));
            }
            None => {}
        }
        if !rule.else_stale.is_zero() {
            let stale = shown(rule.else_stale);
            self.line(format_args!(
                "    if it fails, its last answer stands in, stale for at most {stale}"
            ));
        }
    }
}
