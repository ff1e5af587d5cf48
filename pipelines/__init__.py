"""When and where it runs: Dagster definitions, jobs, schedules, sensors, and the commands people type."""

from data.loading import end_at_once_while_loading

end_at_once_while_loading()
