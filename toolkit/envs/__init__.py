"""Environments: scenarios as other libraries know them; importing this names them to Gymnasium.

``gymnasium.make("toolkit/<scenario>-v0")`` works after ``import toolkit.envs``, and
``gymnasium.make("toolkit.envs:toolkit/<scenario>-v0")`` without.
"""

from toolkit.envs.registration import register_all

register_all()
