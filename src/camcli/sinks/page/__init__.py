"""The report page: one HTML file to look through all of a run, for every browser, without a server or a network."""

from camcli.sinks.page.page import NO_PAGE, Page, check_page, open_page
from camcli.sinks.page.seen import Seen, of_row

__all__ = ["NO_PAGE", "Page", "Seen", "check_page", "of_row", "open_page"]
