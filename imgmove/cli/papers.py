"""The papers that a load leaves: a receipt, a request for what is lacking, and a report."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgmove.cli.messages import Messages
from imgmove.errors import UsageError

if TYPE_CHECKING:
    from imgmove.airgap.loaded import LoadReport
    from imgmove.wire.signing import SigningKey


@dataclass(frozen=True, slots=True)
class Papers:
    """Where they go; empty for those that nobody wants.

    Attributes:
        request: written only when something is lacking.

    Raises:
        UsageError: a report has a name that does not say what it is.
    """

    receipt: str
    request: str
    report: str

    def __post_init__(self) -> None:
        if self.report and not self.report.endswith((".json", ".html")):
            raise UsageError(f"a report is a .json or .html file, not {self.report}")

    def write(self, found: LoadReport, key: SigningKey | None, messages: Messages) -> None:
        """Writes them, signed if there is a key.

        Raises:
            LocalError: one can't be written.
        """
        from imgmove.airgap.documents import seal
        from imgmove.wire.files import LocalFiles

        signer = key.sign if key is not None else None
        files = LocalFiles()
        if self.receipt:
            files.write(self.receipt, seal("receipt", found.holdings.to_json(), signer))
        if self.report.endswith(".json"):
            files.write(self.report, seal("report", found.to_json(), signer))
        elif self.report:
            from imgmove.airgap.page import report_page

            page = report_page(found)
            files.write(self.report, page)
            if signer is not None:
                files.write(f"{self.report}.sig", base64.b64encode(signer(page)) + b"\n")
        if found.request is not None:
            files.write(self.request, seal("request", found.request.to_json(), signer))
            messages.note(f"what is lacking is written in {self.request}, for bundle create --request")
