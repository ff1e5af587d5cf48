"""When and where it runs: Dagster definitions, jobs, schedules, sensors, and the commands people type."""

from data.command import begin

begin()
