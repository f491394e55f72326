"""``{% load readtime %}{% readtime_script user.sourced_id article %}``."""

from django import template

from caliper_readtime.web.django import pages

register: template.Library = template.Library()
register.simple_tag(pages.readtime_script, takes_context=True)
