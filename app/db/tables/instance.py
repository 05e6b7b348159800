"""Facts about this hub as a whole: its secret and its epochs."""

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.db.tables.base import Table


class Instance(Table):
    """One named fact.

    ``secret`` signs capability URLs; ``store_epoch`` goes into object keys (a restored database
    gets a new one); ``cas_epoch`` goes into casUrl and changes when xorbs that clients may still
    remember are gone.
    """

    __tablename__ = "instance"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[str]
